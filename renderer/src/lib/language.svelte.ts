/** The window's language, switched at run time: every message reads this state through Paraglide's `getLocale`. */
import { overwriteGetLocale, type Locale } from "../paraglide/runtime.js";

export type LanguageChoice = "system" | "en" | "de";

let locale = $state<Locale>(ofSystem());
overwriteGetLocale(() => locale);

function ofSystem(): Locale {
  for (const tag of navigator.languages) {
    if (/^de\b/i.test(tag)) return "de";
    if (/^en\b/i.test(tag)) return "en";
  }
  return "en";
}

export const currentLocale = (): Locale => locale;

export function chooseLanguage(choice: LanguageChoice): void {
  locale = choice === "system" ? ofSystem() : choice;
  document.documentElement.lang = locale;
}
