/** The keys that work everywhere, in the order in which the dialog at `?` lists them. */
import { m } from "../paraglide/messages.js";

export const onMac = /Mac/.test(navigator.userAgent);
/** As it stands on the keyboards of the window's language. */
export const commandKey = (): string => (onMac ? "⌘" : m.key_ctrl());

/** Ctrl, or Command on a Mac, and nothing else beside. */
export const commanded = (event: KeyboardEvent): boolean =>
  (onMac ? event.metaKey && !event.ctrlKey : event.ctrlKey && !event.metaKey) && !event.altKey;

export const shortcuts = (): { keys: string[]; does: string }[] => [
  { keys: [commandKey(), "K"], does: m.shortcut_switch() },
  { keys: [commandKey(), "N"], does: m.new_chat() },
  { keys: ["Alt", "↑"], does: m.shortcut_previous() },
  { keys: ["Alt", "↓"], does: m.shortcut_next() },
  { keys: ["F6"], does: m.shortcut_part() },
  { keys: [m.key_enter()], does: m.shortcut_send() },
  { keys: [m.key_shift(), m.key_enter()], does: m.shortcut_newline() },
  { keys: ["@"], does: m.shortcut_mention() },
  { keys: [commandKey(), "B"], does: m.shortcut_bold() },
  { keys: [commandKey(), "I"], does: m.shortcut_italic() },
  { keys: [commandKey(), m.key_end()], does: m.shortcut_newest() },
  { keys: [commandKey(), "."], does: m.shortcut_details() },
  { keys: [commandKey(), ","], does: m.settings() },
  { keys: ["Esc"], does: m.shortcut_escape() },
  { keys: ["?"], does: m.shortcuts_title() },
];
