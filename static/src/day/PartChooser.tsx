// Chooses how much of a meal was eaten: a slider in steps of 10 % with minus and plus buttons, for touch and keyboard.
import { useEffect, useRef, useState } from 'preact/hooks';
import { percent } from '../format';
import { t } from '../i18n';
import { Icon } from '../ui/Icon';

interface PartChooserProps { initial: number; name: string; onSave: (permille: number) => void; onCancel: () => void }

export function PartChooser({ initial, name, onSave, onCancel }: PartChooserProps) {
  const [part, setPart] = useState(Math.min(900, Math.max(100, Math.round(initial / 100) * 100)));
  const slider = useRef<HTMLInputElement>(null);
  useEffect(() => slider.current?.focus(), []);
  const step = (by: number): void => setPart((now) => Math.min(900, Math.max(100, now + by)));
  return (
    <div class="part" role="group" aria-label={t().partOf(name)}
      onKeyDown={(event) => { if (event.key === 'Escape') onCancel(); }}>
      <p class="part-label">{t().howMuch} <output>{percent(part)}</output></p>
      <div class="part-row">
        <button type="button" class="icon-button is-framed" aria-label={t().less} disabled={part <= 100} data-testid="part-less"
          onClick={() => step(-100)}><Icon name="minus" /></button>
        <input ref={slider} type="range" min={10} max={90} step={10} value={part / 10} aria-label={t().howMuch}
          aria-valuetext={percent(part)} data-testid="part-slider" style={{ '--part': (part - 100) / 800 }}
          onInput={(event) => setPart(Number(event.currentTarget.value) * 10)} />
        <button type="button" class="icon-button is-framed" aria-label={t().more} disabled={part >= 900} data-testid="part-more"
          onClick={() => step(100)}><Icon name="plus" /></button>
      </div>
      <div class="part-row is-end">
        <button type="button" class="button is-quiet" onClick={onCancel}>{t().cancel}</button>
        <button type="button" class="button is-primary" data-testid="part-save" onClick={() => onSave(part)}>{t().save}</button>
      </div>
    </div>
  );
}
