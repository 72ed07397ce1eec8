// Tells people that somebody made a link to set a new password for their account, until they have read it.
import { signal } from '@preact/signals';
import { dateTime } from '../format';
import { t } from '../i18n';
import { me } from '../session';
import { Icon } from '../ui/Icon';

const KEY = 'liveplan.reset-read';
const read = signal(localStorage.getItem(KEY));

export function ResetNotice() {
  const link = me.value?.reset_link;
  // A link that was made and then used is two notices.
  const id = link && `${link.created_at} ${link.used_at ?? ''}`;
  if (!link || !id || read.value === id) return null;

  function close(): void {
    localStorage.setItem(KEY, id ?? '');
    read.value = id ?? null;
  }

  const by = link.made_by ?? t().operator;
  return (
    <section class="reset-notice" aria-label={t().resetNoticeTitle} data-testid="reset-notice">
      <Icon name="warn" size={20} />
      <div>
        <b>{t().resetNoticeTitle}</b>
        <p>{t().resetMade(by, link.gym, dateTime(link.created_at))} {link.used_at && t().resetUsed(dateTime(link.used_at))} {t().resetAdvice}</p>
      </div>
      <button class="button is-small" onClick={close} data-testid="reset-notice-close">{t().understood}</button>
    </section>
  );
}
