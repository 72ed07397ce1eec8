import { chooseLanguage, language, type Language, t } from '../i18n';

const names: Record<Language, string> = { es: 'Español', en: 'English' };

export function LanguageSwitch() {
  return (
    <div class="segments" role="group" aria-label={t().language}>
      {(['es', 'en'] as const).map((code) => (
        <button key={code} type="button" lang={code} aria-pressed={language.value === code} onClick={() => chooseLanguage(code)}
          data-testid={`language-${code}`}>
          {names[code]}
        </button>
      ))}
    </div>
  );
}
