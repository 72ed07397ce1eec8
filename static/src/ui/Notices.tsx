// Short messages at the bottom of the screen, announced politely. `announce` only reaches screen readers.
import { signal } from '@preact/signals';
import { t } from '../i18n';
import { Icon } from './Icon';

interface Notice { id: number; text: string; tone: 'plain' | 'bad' }

const notices = signal<Notice[]>([]);
const spoken = signal('');
let last = 0;

export function notify(text: string, tone: Notice['tone'] = 'plain'): void {
  const id = (last += 1);
  notices.value = [...notices.value.slice(-2), { id, text, tone }];
  setTimeout(() => dismiss(id), tone === 'bad' ? 9000 : 5000);
}

export function announce(text: string): void {
  spoken.value = spoken.value === text ? `${text}\u00a0` : text;
}

function dismiss(id: number): void {
  notices.value = notices.value.filter((notice) => notice.id !== id);
}

/** How many drawers are open. Screen readers ignore content outside a modal dialog, so the notices move inside. */
export const drawers = signal(0);

export function Notices() {
  return drawers.value > 0 ? null : <NoticeList />;
}

export function NoticeList() {
  return (
    <>
      <div class="sr-only" aria-live="polite">{spoken.value}</div>
      <div class="notices" role="status">
        {notices.value.map(({ id, text, tone }) => (
          <div key={id} class={`notice notice-${tone}`}>
            <span>{text}</span>
            <button class="icon-button" aria-label={t().close} onClick={() => dismiss(id)}><Icon name="close" size={18} /></button>
          </div>
        ))}
      </div>
    </>
  );
}
