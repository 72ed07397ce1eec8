// One member in detail: today's meals with their completions, live, and access to the meal editor.
import { useState } from 'preact/hooks';
import type { MemberState, PlanState } from '../api/types';
import { ordered, standing, summary } from '../day/model';
import { Summary } from '../day/Summary';
import { date } from '../format';
import { t } from '../i18n';
import { entry, useChannel } from '../live/connection';
import { MealEditor } from '../plans/MealEditor';
import { MealRow } from '../plans/MealRow';
import { mayEdit } from '../session';
import { Avatar, Empty, Skeleton } from '../ui/bits';
import { Drawer } from '../ui/Drawer';
import type { Tile } from './model';

export function MemberPanel({ of, onClose }: { of: Tile; onClose: () => void }) {
  const [editing, setEditing] = useState<string>();
  const { state: member } = useChannel<MemberState>(`member:${of.id}`);
  const plan = of.follow && (entry(`plan:${of.follow.plan_id}`).value?.state as PlanState | undefined);
  const completions = member?.completions?.[of.today] ?? {};
  const meal = editing ? of.day?.meals[editing] : undefined;
  const title = (
    <>
      <Avatar name={of.name} />
      <span>
        <h2>{of.name}</h2>
        <span class="muted">{of.follow ? `${of.follow.plan_name} · ` : ''}{of.online ? t().online : t().away}</span>
      </span>
    </>
  );
  return (
    <Drawer label={of.name} title={title} onClose={onClose}>
      {editing && plan && of.day ? (
        <MealEditor plan={plan.plan.id} version={plan.plan.version} day={of.day.number} id={editing} meal={meal}
          onDone={() => setEditing(undefined)} note={t().editsForAll} />
      ) : (
        <>
          <p class="panel-date">{date(of.today, { weekday: 'long', day: 'numeric', month: 'long' })}</p>
          {!of.follow && <Empty icon="leaf" title={t().noPlanShort} text={t().noPlanStaff} />}
          {of.follow && !plan && <Skeleton rows={3} tall />}
          {plan && !of.day && <Empty icon="day" title={t().noMealsTitle} text={t().outsidePlan} />}
          {plan && !mayEdit(plan.plan) && <p class="panel-note muted">{t().readOnlyPlan}</p>}
          {of.day && <Summary of={summary(of.day, of.row, completions, [])} />}
          <ul class="meal-rows">
            {ordered(of.day?.meals).map((row) => (
              <MealRow key={row.id} id={row.id} meal={row} standing={standing(completions[row.id], undefined)}
                zone={of.follow?.time_zone} onEdit={plan && mayEdit(plan.plan) ? () => setEditing(row.id) : undefined} />
            ))}
          </ul>
        </>
      )}
    </Drawer>
  );
}
