// The week around the chosen day, with the progress of each day.
import type { Progress } from '../api/types';
import { date } from '../format';
import { t } from '../i18n';
import { Icon } from '../ui/Icon';
import { addDays, daysBetween } from './model';

interface DateStripProps {
  chosen: string;
  today: string;
  progress: Record<string, Progress>;
  onChoose: (date: string) => void;
}

export function DateStrip({ chosen, today, progress, onChoose }: DateStripProps) {
  const weekday = (new Date(`${chosen}T00:00:00Z`).getUTCDay() + 6) % 7;
  const week = Array.from({ length: 7 }, (_, index) => addDays(chosen, index - weekday));
  const away = daysBetween(today, chosen);
  const name = away >= -1 && away <= 1 ? t().nearDay[String(away) as '-1' | '0' | '1'] : undefined;
  return (
    <nav class="dates" aria-label={t().days}>
      <div class="dates-head">
        <h1>
          {name && <span class="dates-near">{name}</span>}
          <span data-testid="date">{date(chosen, { weekday: 'long', day: 'numeric', month: 'long' })}</span>
        </h1>
        {away !== 0 && <button class="button is-small" onClick={() => onChoose(today)} data-testid="today">{t().today}</button>}
        <button class="icon-button" aria-label={t().previousDay} onClick={() => onChoose(addDays(chosen, -1))} data-testid="day-previous"><Icon name="left" /></button>
        <button class="icon-button" aria-label={t().nextDay} onClick={() => onChoose(addDays(chosen, 1))} data-testid="day-next"><Icon name="right" /></button>
      </div>
      <ul class="dates-week">
        {week.map((day) => {
          const row = progress[day];
          const mark = !row?.meals_done ? 'none' : row.meals_done >= row.meals_planned ? 'full' : 'some';
          return (
            <li key={day}>
              <button class={`date${day === today ? ' is-today' : ''}`} aria-current={day === chosen ? 'date' : undefined}
                onClick={() => onChoose(day)}
                aria-label={`${date(day, { weekday: 'long', day: 'numeric', month: 'long' })}${row ? `, ${t().mealsOf(row.meals_done, row.meals_planned)}` : ''}`}>
                <span data-weekday={date(day, { weekday: 'narrow' })} />
                <b>{Number(day.slice(8))}</b>
                <i class={`date-mark is-${mark}`} />
              </button>
            </li>
          );
        })}
      </ul>
    </nav>
  );
}
