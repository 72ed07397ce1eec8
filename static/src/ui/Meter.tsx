// A bar and a ring that show a part of a whole. Both carry their numbers as text for screen readers.
import { share } from '../format';

interface MeterProps { value: number | undefined; max: number | undefined; label: string; text: string; tone?: string; testid?: string }

export function Bar({ value, max, label, text, tone = 'energy', testid }: MeterProps) {
  const part = share(value, max);
  const over = value !== undefined && max !== undefined && max > 0 && value > max * 1.1;
  return (
    <div class={`bar tone-${tone}`} role="meter" aria-label={label} aria-valuetext={text} aria-valuemin={0} aria-valuemax={100}
      aria-valuenow={Math.round(part * 100)} data-testid={testid} data-over={over || undefined}>
      <div class="bar-fill" style={{ '--part': part }} />
    </div>
  );
}

export function Ring({ value, max, label, text, children }: MeterProps & { children: preact.ComponentChildren }) {
  const part = share(value, max);
  return (
    <div class="ring" role="meter" aria-label={label} aria-valuetext={text} aria-valuemin={0} aria-valuemax={100}
      aria-valuenow={Math.round(part * 100)}>
      <svg viewBox="0 0 120 120" aria-hidden="true">
        <circle class="ring-track" cx="60" cy="60" r="52" />
        <circle class="ring-fill" cx="60" cy="60" r="52" pathLength={100} stroke-dasharray={`${part * 100} 100`}
          data-empty={part === 0 || undefined} />
      </svg>
      <div class="ring-text">{children}</div>
    </div>
  );
}
