// A meal in a list for staff: time, title, foods in one line, completion status (if given) and an edit button.
import type { MealState } from '../api/types';
import type { Standing } from '../day/model';
import { clock, percent, time } from '../format';
import { t } from '../i18n';
import { changes } from '../live/changes';
import { Kcal } from '../ui/bits';
import { foodsLine } from '../ui/foods';
import { Icon } from '../ui/Icon';
import { slotName } from '../ui/slot';

interface MealRowProps { id: string; meal: MealState; standing?: Standing; zone?: string; onEdit?: () => void }

export function MealRow({ id, meal, standing, zone, onEdit }: MealRowProps) {
  const name = meal.title || slotName(meal.slot);
  const change = changes.value[id];
  return (
    <li class="meal-row" data-testid={`meal-${id}`}>
      {change && Date.now() - Date.parse(change.at) < 4000 && <div key={change.at} class="flash" aria-hidden="true" />}
      <span class="meal-row-time">{meal.time_min === undefined ? '–' : clock(meal.time_min)}</span>
      <span class="meal-row-text">
        <b>{name}</b>
        <span class="muted">{foodsLine(meal) || t().noItems}</span>
      </span>
      {standing && (
        <span class={`chip is-status-${standing.status}`} data-testid="meal-status" data-status={standing.status}>
          {standing.status === 'partial' ? t().statusPartial(percent(standing.permille)) : t().status[standing.status]}
          {standing.completion && ` · ${time(standing.completion.at, zone)}`}
        </span>
      )}
      <Kcal of={meal.nutrients} />
      {onEdit && (
        <button class="icon-button is-framed" aria-label={t().editMeal(name)} onClick={onEdit} data-testid="edit"><Icon name="edit" size={18} /></button>
      )}
    </li>
  );
}
