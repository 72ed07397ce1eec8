// All texts of the app in both languages; the compiler ensures that neither language lacks one.
import { signal } from '@preact/signals';
import { en } from './texts/en';
import { es } from './texts/es';

export type Language = 'es' | 'en';
export type Texts = typeof en;

const KEY = 'liveplan.language';
const texts: Record<Language, Texts> = { en, es };

const supported = (tag: string | undefined | null): Language | undefined => {
  const code = tag?.slice(0, 2).toLowerCase();
  return code === 'es' || code === 'en' ? code : undefined;
};
// Unit tests run without a browser.
const storage = typeof localStorage === 'undefined' ? undefined : localStorage;
const browser = typeof navigator === 'undefined' ? [] : (navigator.languages ?? [navigator.language]);

const chosen = supported(storage?.getItem(KEY));
export const language = signal<Language>(chosen ?? browser.map(supported).find((code) => code) ?? 'en');

/** The texts of the current language. A component that reads it is redrawn when the language changes. */
export const t = (): Texts => texts[language.value];

export function chooseLanguage(code: Language): void {
  storage?.setItem(KEY, code);
  language.value = code;
}

/** Switches to the account's language, unless a language was chosen on this device. */
export function preferLanguage(locale: string): void {
  if (!storage?.getItem(KEY)) language.value = supported(locale) ?? language.value;
}
