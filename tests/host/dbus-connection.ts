import { once } from "node:events";
import net from "node:net";

/** As much of the D-Bus wire protocol as a prompter needs: strings and object paths in, strings and empty dictionaries out. */
export type DbusMessage = { type: number; serial: number; path: string; member: string; sender: string; body: Buffer };
export type DbusConnection = {
  call: (destination: string, path: string, member: string, signature: string, body: Buffer) => void;
  reply: (to: DbusMessage) => void;
  end: () => void;
};

const align = (size: number, to: number) => Math.ceil(size / to) * to;
const pad = (bytes: Buffer, to: number) => Buffer.concat([bytes, Buffer.alloc(align(bytes.length, to) - bytes.length)]);
const u32 = (value: number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};
const text = (value: string) => Buffer.concat([u32(Buffer.byteLength(value)), Buffer.from(value), Buffer.of(0)]);

/** Values one after the other, each at its alignment: a string, a number, or null for an empty `a{sv}`. */
export function marshal(values: (string | number | null)[]): Buffer {
  return values.reduce<Buffer>((whole, value) => {
    if (value === null) return pad(Buffer.concat([pad(whole, 4), u32(0)]), 8);
    return Buffer.concat([pad(whole, 4), typeof value === "string" ? text(value) : u32(value)]);
  }, Buffer.alloc(0));
}

/** Reads a body of strings; `a{sv}` is stepped over and gives nothing. */
export function unmarshal(body: Buffer, parts: ("string" | "dictionary")[]): string[] {
  let at = 0;
  return parts.flatMap((part) => {
    at = align(at, 4);
    const size = body.readUInt32LE(at);
    at += 4;
    if (part === "dictionary") {
      at = align(at, 8) + size;
      return [];
    }
    const value = body.toString("utf8", at, at + size);
    at += size + 1;
    return [value];
  });
}

const fieldCodes = { path: 1, interface: 2, member: 3, replySerial: 5, destination: 6, sender: 7, signature: 8 };

function encode(
  type: number,
  serial: number,
  fields: [code: number, type: string, value: string | number][],
  body: Buffer,
): Buffer {
  const encoded = fields.reduce<Buffer>((whole, [code, kind, value]) => {
    const head = Buffer.from([code, 1, kind.charCodeAt(0), 0]);
    const content =
      typeof value === "number"
        ? u32(value)
        : kind === "g"
          ? Buffer.concat([Buffer.of(value.length), Buffer.from(`${value}\0`)])
          : text(value);
    return Buffer.concat([pad(whole, 8), head, content]);
  }, Buffer.alloc(0));
  const fixed = Buffer.concat([
    Buffer.from([0x6c, type, 0, 1]),
    u32(body.length),
    u32(serial),
    u32(encoded.length),
    encoded,
  ]);
  return Buffer.concat([pad(fixed, 8), body]);
}

function decode(bytes: Buffer): { message: DbusMessage; length: number } | undefined {
  if (bytes.length < 16) return undefined;
  const bodyLength = bytes.readUInt32LE(4);
  const fieldsEnd = 16 + bytes.readUInt32LE(12);
  const bodyAt = align(fieldsEnd, 8);
  if (bytes.length < bodyAt + bodyLength) return undefined;
  const fields = new Map<number, string>();
  for (let at = 16; at < fieldsEnd;) {
    at = align(at, 8);
    const code = bytes[at] ?? 0;
    const kind = String.fromCharCode(bytes[at + 2] ?? 0);
    at += 4;
    if (kind === "u") at += 4;
    else if (kind === "g") at += (bytes[at] ?? 0) + 2;
    else {
      const size = bytes.readUInt32LE(at);
      fields.set(code, bytes.toString("utf8", at + 4, at + 4 + size));
      at += size + 5;
    }
  }
  const field = (code: number) => fields.get(code) ?? "";
  const message = {
    type: bytes[1] ?? 0,
    serial: bytes.readUInt32LE(8),
    path: field(fieldCodes.path),
    member: field(fieldCodes.member),
    sender: field(fieldCodes.sender),
    body: bytes.subarray(bodyAt, bodyAt + bodyLength),
  };
  return { message, length: bodyAt + bodyLength };
}

/** Joins the bus and takes `name`; each method call that comes goes to `onCall`. */
export async function connectBus(
  socketPath: string,
  name: string,
  iface: string,
  onCall: (message: DbusMessage) => void,
): Promise<DbusConnection> {
  const socket = net.connect(socketPath);
  await once(socket, "connect");
  const uid = Buffer.from(String(process.getuid?.() ?? 0)).toString("hex");
  socket.write(`\0AUTH EXTERNAL ${uid}\r\n`);
  await once(socket, "data");
  socket.write("BEGIN\r\n");
  let serial = 0;
  let received = Buffer.alloc(0);
  const answered = Promise.withResolvers<undefined>();
  socket.on("error", () => undefined);
  socket.on("data", (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
    for (let next = decode(received); next !== undefined; next = decode(received)) {
      received = received.subarray(next.length);
      if (next.message.type === 1) onCall(next.message);
      else if (serial >= 2) answered.resolve(undefined);
    }
  });
  const send = (type: number, fields: [number, string, string | number][], body: Buffer) => {
    serial += 1;
    socket.write(encode(type, serial, fields, body));
  };
  const call = (destination: string, path: string, of: string, member: string, signature: string, body: Buffer) => {
    send(
      1,
      [
        [fieldCodes.path, "o", path],
        [fieldCodes.interface, "s", of],
        [fieldCodes.member, "s", member],
        [fieldCodes.destination, "s", destination],
        ...(signature === "" ? [] : ([[fieldCodes.signature, "g", signature]] as [number, string, string][])),
      ],
      body,
    );
  };
  const bus = "org.freedesktop.DBus";
  call(bus, "/org/freedesktop/DBus", bus, "Hello", "", Buffer.alloc(0));
  call(bus, "/org/freedesktop/DBus", bus, "RequestName", "su", marshal([name, 0]));
  await answered.promise;
  return {
    call: (destination, path, member, signature, body) => {
      call(destination, path, iface, member, signature, body);
    },
    reply: ({ serial: to, sender }) => {
      send(
        2,
        [
          [fieldCodes.replySerial, "u", to],
          [fieldCodes.destination, "s", sender],
        ],
        Buffer.alloc(0),
      );
    },
    end: () => {
      socket.destroy();
    },
  };
}
