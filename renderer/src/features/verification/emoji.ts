/**
 * The 64 pictures of short authentication strings by number, with their names in the window's languages.
 * Source: client-server API, "SAS method: emoji". Both sides must be able to say them aloud, each in their own language.
 */
type Language = "en" | "de";

const table = `🐶 Dog|Hund
🐱 Cat|Katze
🦁 Lion|Löwe
🐎 Horse|Pferd
🦄 Unicorn|Einhorn
🐷 Pig|Schwein
🐘 Elephant|Elefant
🐰 Rabbit|Hase
🐼 Panda|Panda
🐓 Rooster|Hahn
🐧 Penguin|Pinguin
🐢 Turtle|Schildkröte
🐟 Fish|Fisch
🐙 Octopus|Oktopus
🦋 Butterfly|Schmetterling
🌷 Flower|Blume
🌳 Tree|Baum
🌵 Cactus|Kaktus
🍄 Mushroom|Pilz
🌏 Globe|Globus
🌙 Moon|Mond
☁️ Cloud|Wolke
🔥 Fire|Feuer
🍌 Banana|Banane
🍎 Apple|Apfel
🍓 Strawberry|Erdbeere
🌽 Corn|Mais
🍕 Pizza|Pizza
🎂 Cake|Kuchen
❤️ Heart|Herz
😀 Smiley|Smiley
🤖 Robot|Roboter
🎩 Hat|Hut
👓 Glasses|Brille
🔧 Spanner|Schraubenschlüssel
🎅 Santa|Weihnachtsmann
👍 Thumbs up|Daumen hoch
☂️ Umbrella|Regenschirm
⌛ Hourglass|Sanduhr
⏰ Clock|Uhr
🎁 Gift|Geschenk
💡 Light bulb|Glühbirne
📕 Book|Buch
✏️ Pencil|Bleistift
📎 Paperclip|Büroklammer
✂️ Scissors|Schere
🔒 Lock|Schloss
🔑 Key|Schlüssel
🔨 Hammer|Hammer
☎️ Telephone|Telefon
🏁 Flag|Flagge
🚂 Train|Zug
🚲 Bicycle|Fahrrad
✈️ Aeroplane|Flugzeug
🚀 Rocket|Rakete
🏆 Trophy|Pokal
⚽ Ball|Ball
🎸 Guitar|Gitarre
🎺 Trumpet|Trompete
🔔 Bell|Glocke
⚓ Anchor|Anker
🎧 Headphones|Kopfhörer
📁 Folder|Ordner
📌 Pin|Stecknadel`;

type Emoji = { glyph: string; names: Record<Language, string> };

const emojis: readonly Emoji[] = table.split("\n").map((line) => {
  const [glyph, names] = splitOnce(line, " ");
  const [en = "", de = ""] = names.split("|");
  return { glyph, names: { en, de } };
});

// Some write the picture with the selector that makes it colourful, some without.
const bare = (glyph: string): string => glyph.replaceAll("\ufe0f", "");
const byGlyph = new Map(emojis.map((emoji) => [bare(emoji.glyph), emoji]));

/** The picture as this system draws it in colour, and its name; `name` as it came where the picture is unknown. */
export function emojiIn(language: Language, [glyph, name]: readonly [string, string]): { glyph: string; name: string } {
  const known = byGlyph.get(bare(glyph));
  return known === undefined ? { glyph, name } : { glyph: known.glyph, name: known.names[language] };
}

/** All of them in the order of their numbers. */
export const allEmojis = (): readonly Emoji[] => emojis;

function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return [text.slice(0, at), text.slice(at + separator.length)];
}
