// Summary of the day: energy as a ring, macronutrients as bars, meals as a count.
import type { Summary as DaySummary } from './model';
import { grams, kcal } from '../format';
import { t } from '../i18n';
import { Bar, Ring } from '../ui/Meter';

export function Summary({ of }: { of: DaySummary }) {
  const { planned, eaten } = of;
  const left = (planned.energy_mkcal ?? 0) - (eaten.energy_mkcal ?? 0);
  const rows = [
    ['protein', t().protein, eaten.protein_mg, planned.protein_mg],
    ['carbs', t().carbs, eaten.carbohydrate_mg, planned.carbohydrate_mg],
    ['fat', t().fat, eaten.fat_mg, planned.fat_mg],
  ] as const;
  return (
    <section class="summary" aria-label={t().summary} data-testid="summary">
      <Ring value={eaten.energy_mkcal ?? 0} max={planned.energy_mkcal} label={t().energy}
        text={t().kcalOf(kcal(eaten.energy_mkcal ?? 0), kcal(planned.energy_mkcal))}>
        <b data-testid="kcal-eaten">{kcal(eaten.energy_mkcal ?? 0)}</b>
        <span>{t().ofKcal(kcal(planned.energy_mkcal))}</span>
      </Ring>
      <div class="summary-side">
        <p class="summary-meals" data-testid="meals-done">
          <b>{t().mealsOf(of.done, of.meals)}</b>
          <span>{left > 0 ? t().kcalLeft(kcal(left)) : t().dayComplete}</span>
        </p>
        {rows.map(([tone, label, has, wants]) => (
          <div key={tone} class="summary-row">
            <span class="summary-label">{label}</span>
            <span class="summary-value">{grams(has ?? 0)} / {grams(wants)} g</span>
            <Bar value={has ?? 0} max={wants} label={label} text={`${grams(has ?? 0)} / ${grams(wants)} g`} tone={tone} />
          </div>
        ))}
      </div>
    </section>
  );
}
