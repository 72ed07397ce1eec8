// A one-time link to pass on, with a button that copies it. The server does not keep it, so it is shown once.
import { useRef, useState } from 'preact/hooks';
import { dateTime } from '../format';
import { t } from '../i18n';
import { announce } from '../ui/Notices';
import { Icon } from '../ui/Icon';

interface LinkBoxProps { link: string; expires: string; text: string }

export function LinkBox({ link, expires, text }: LinkBoxProps) {
  const field = useRef<HTMLInputElement>(null);
  const [copied, setCopied] = useState(false);
  const whole = location.origin + link;

  async function copy(): Promise<void> {
    field.current?.select();
    // Without a secure context there is no clipboard API.
    const done = navigator.clipboard
      ? await navigator.clipboard.writeText(whole).then(() => true, () => false)
      : document.execCommand('copy');
    if (!done) return;
    setCopied(true);
    announce(t().copied);
  }

  return (
    <div class="link-box">
      <p>{text}</p>
      <label class="field">
        <span>{t().link}</span>
        <input ref={field} readOnly value={whole} data-testid="link" onFocus={(event) => event.currentTarget.select()} />
      </label>
      <button type="button" class="button is-primary" onClick={() => void copy()} data-testid="link-copy">
        <Icon name={copied ? 'check' : 'link'} />{copied ? t().copied : t().copyLink}
      </button>
      <p class="muted">{t().linkOnce(dateTime(expires))}</p>
    </div>
  );
}
