// Small shared components.
import { t } from '../i18n';
import { grams, initials, kcal } from '../format';
import type { Nutrients } from '../api/types';
import { Icon, type IconName } from './Icon';

export function Avatar({ name }: { name: string }) {
  const hue = [...name].reduce((sum, char) => sum + (char.codePointAt(0) ?? 0), 0) % 6;
  // The style sheet draws the initials: they are decoration, and voice control must not take them for a name.
  return <span class={`avatar hue-${hue}`} data-initials={initials(name)} aria-hidden="true" />;
}

export function Empty({ icon, title, text, children }: {
  icon: IconName; title: string; text: string; children?: preact.ComponentChildren;
}) {
  return (
    <div class="empty">
      <span class="empty-icon"><Icon name={icon} size={30} /></span>
      <h2>{title}</h2>
      <p>{text}</p>
      {children}
    </div>
  );
}

/** Grey placeholders for content that is loading, with a text for screen readers. */
export function Skeleton({ rows = 3, tall = false }: { rows?: number; tall?: boolean }) {
  return (
    <div class="skeletons" role="status">
      <span class="sr-only">{t().loading}</span>
      {Array.from({ length: rows }, (_, index) => <div key={index} class={`skeleton${tall ? ' is-tall' : ''}`} />)}
    </div>
  );
}

/** Protein, carbohydrate and fat in one line. */
export function Macros({ of }: { of: Nutrients }) {
  const rows = [
    ['protein', t().protein, of.protein_mg], ['carbs', t().carbs, of.carbohydrate_mg], ['fat', t().fat, of.fat_mg],
  ] as const;
  return (
    <dl class="macros">
      {rows.map(([tone, label, value]) => (
        <div key={tone} class={`tone-${tone}`}>
          <dt>{label}</dt>
          <dd>{grams(value)} g</dd>
        </div>
      ))}
    </dl>
  );
}

export function Kcal({ of }: { of: Nutrients }) {
  return <span class="kcal"><b>{kcal(of.energy_mkcal)}</b> kcal</span>;
}

export function ErrorNote({ text }: { text: string | undefined }) {
  return <div class="error-note" role="alert">{text ? <><Icon name="warn" size={18} /><span>{text}</span></> : null}</div>;
}
