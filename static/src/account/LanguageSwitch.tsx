import { chooseLanguage, language, type Language, t } from '../i18n';

/** The languages, each by its own name. */
export const chooseable: { code: Language; name: string }[] = [{ code: 'es', name: 'Español' }, { code: 'en', name: 'English' }];

export function LanguageSwitch() {
  return (
    <div class="segments" role="group" aria-label={t().language}>
      {chooseable.map(({ code, name }) => (
        <button key={code} type="button" lang={code} aria-pressed={language.value === code} onClick={() => chooseLanguage(code)}
          data-testid={`language-${code}`}>
          {name}
        </button>
      ))}
    </div>
  );
}
