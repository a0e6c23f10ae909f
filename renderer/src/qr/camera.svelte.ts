/** The webcam: asked for, chosen, plugged and unplugged, and off at once when nobody looks. */

/** `denied`: by the person or the system · `none`: there is no camera · `busy`: another program holds it, or it does not start. */
export type CameraTrouble = "denied" | "none" | "busy" | "unsupported";
export type CameraState =
  { at: "off" } | { at: "starting" } | { at: "on"; stream: MediaStream } | { at: "failed"; why: CameraTrouble };
export type CameraChoice = { deviceId: string; label: string };

export type CameraOptions = {
  /** The label of the camera that was chosen last. Ids are no use for that: they change with the page's address. */
  preferred: string;
  onchoose: (label: string) => void;
};

export class Camera {
  state = $state.raw<CameraState>({ at: "off" });
  /** Named only once the camera may be used. */
  choices = $state.raw<readonly CameraChoice[]>([]);
  readonly current = $derived.by((): string | undefined =>
    this.state.at === "on" ? this.state.stream.getVideoTracks()[0]?.getSettings().deviceId : undefined,
  );
  /** The picture is of the one who looks at it, and moves as a mirror does. */
  readonly mirrored = $derived.by(
    () => this.state.at === "on" && this.state.stream.getVideoTracks()[0]?.getSettings().facingMode !== "environment",
  );
  #preferred: string;
  #onchoose: (label: string) => void;
  #listening: AbortController | undefined;
  /** Which start is the newest: a camera that comes for an older one is put off again at once. */
  #turn = 0;

  constructor({ preferred, onchoose }: CameraOptions) {
    this.#preferred = preferred;
    this.#onchoose = onchoose;
  }

  open(): void {
    if (this.#listening !== undefined) return;
    const listening = new AbortController();
    const { signal } = listening;
    this.#listening = listening;
    document.addEventListener(
      "visibilitychange",
      () => {
        if (document.hidden) this.#release();
        else void this.#start();
      },
      { signal },
    );
    addEventListener(
      "pagehide",
      () => {
        this.#release();
      },
      { signal },
    );
    // lib.dom says that it is always there; without a secure context it is not
    const devices = navigator.mediaDevices as MediaDevices | undefined;
    devices?.addEventListener("devicechange", () => void this.#plugged(), { signal });
    if (!document.hidden) void this.#start();
  }

  close(): void {
    this.#listening?.abort();
    this.#listening = undefined;
    this.#release();
  }

  retry = (): void => {
    void this.#start();
  };

  choose = (deviceId: string): void => {
    const label = this.choices.find((one) => one.deviceId === deviceId)?.label;
    if (label === undefined) return;
    this.#preferred = label;
    this.#onchoose(label);
    void this.#start();
  };

  async #start(): Promise<void> {
    this.#release();
    if (this.#listening === undefined) return;
    const turn = this.#turn;
    this.state = { at: "starting" };
    const mine = (): boolean => turn === this.#turn;
    try {
      const stream = await this.#preferredStream(mine);
      if (!mine()) {
        stop(stream);
        return;
      }
      for (const track of stream.getVideoTracks()) {
        // pulled out, or taken back by the system
        track.addEventListener("ended", () => {
          if (mine()) void this.#start();
        });
      }
      this.state = { at: "on", stream };
    } catch (error) {
      if (mine()) this.state = { at: "failed", why: troubleOf(error) };
    }
  }

  /** Any camera first, for without leave none has a name; then the one that is remembered, if it is another. */
  async #preferredStream(mine: () => boolean): Promise<MediaStream> {
    const known = this.choices.find((one) => one.label === this.#preferred);
    const stream = await capture(known?.deviceId);
    if (!mine()) return stream;
    try {
      await this.#list();
    } catch (error) {
      stop(stream);
      throw error;
    }
    const wanted = this.choices.find((one) => one.label === this.#preferred)?.deviceId;
    const got = stream.getVideoTracks()[0]?.getSettings().deviceId;
    if (!mine() || wanted === undefined || wanted === got) return stream;
    stop(stream);
    return capture(wanted);
  }

  async #list(): Promise<void> {
    const devices = await navigator.mediaDevices.enumerateDevices();
    this.choices = devices
      .filter((device) => device.kind === "videoinput" && device.label !== "")
      .map(({ deviceId, label }) => ({ deviceId, label }));
  }

  /** A camera came or went. The one in use tells its own end. */
  async #plugged(): Promise<void> {
    const turn = this.#turn;
    try {
      await this.#list();
    } catch (error) {
      console.warn("cameras were not listed:", error instanceof Error ? error.name : "");
    }
    if (turn === this.#turn && this.state.at === "failed" && this.state.why !== "denied") void this.#start();
  }

  #release(): void {
    this.#turn += 1;
    if (this.state.at === "on") stop(this.state.stream);
    if (this.state.at !== "off") this.state = { at: "off" };
  }
}

async function capture(deviceId: string | undefined): Promise<MediaStream> {
  const devices = navigator.mediaDevices as MediaDevices | undefined;
  if (devices === undefined) throw new DOMException("no camera interface", "NotSupportedError");
  const size = { width: { ideal: 1280 }, height: { ideal: 720 } };
  const any = { audio: false, video: { ...size, facingMode: { ideal: "environment" } } };
  if (deviceId === undefined) return devices.getUserMedia(any);
  try {
    // asked for as a mere wish, Chromium gives whichever camera fits the size better
    return await devices.getUserMedia({ audio: false, video: { ...size, deviceId: { exact: deviceId } } });
  } catch (error) {
    // pulled out since it was listed
    if (troubleOf(error) === "none") return devices.getUserMedia(any);
    throw error;
  }
}

function stop(stream: MediaStream): void {
  for (const track of stream.getTracks()) track.stop();
}

/** Source: Media Capture and Streams, "getUserMedia". */
function troubleOf(error: unknown): CameraTrouble {
  const name = error instanceof DOMException ? error.name : "";
  if (name === "NotAllowedError" || name === "SecurityError") return "denied";
  if (name === "NotFoundError" || name === "OverconstrainedError") return "none";
  return name === "NotSupportedError" ? "unsupported" : "busy";
}
