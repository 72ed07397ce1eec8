import { useEffect, useState } from 'preact/hooks';
import { call, explain, query } from '../api/client';
import type { Page, PlanStatus, PlanSummary } from '../api/types';
import { kcal } from '../format';
import { t } from '../i18n';
import { href } from '../router';
import { Empty, ErrorNote, Skeleton } from '../ui/bits';
import { Icon } from '../ui/Icon';

export function PlansPage() {
  const [status, setStatus] = useState<PlanStatus | ''>('');
  const [plans, setPlans] = useState<PlanSummary[]>();
  const [cursor, setCursor] = useState<string>();
  const [error, setError] = useState<string>();

  async function load(from?: string): Promise<void> {
    try {
      const page = await call<Page<PlanSummary>>(`plans${query({ status, limit: 50, cursor: from })}`);
      setPlans((before) => [...(from ? (before ?? []) : []), ...page.items]);
      setCursor(page.next_cursor);
    } catch (failure) {
      setError(explain(failure, t().noServer));
    }
  }
  useEffect(() => {
    setPlans(undefined);
    void load();
  }, [status]);

  return (
    <main class="page page-narrow" id="main">
      <header class="page-head">
        <h1>{t().navPlans}</h1>
        <label class="select"><span class="sr-only">{t().show}</span>
          <select value={status} onChange={(event) => setStatus(event.currentTarget.value as PlanStatus | '')}>
            <option value="">{t().only.all}</option>
            {(['published', 'draft', 'archived'] as const).map((key) => <option key={key} value={key}>{t().planStatus[key]}</option>)}
          </select>
        </label>
      </header>
      <ErrorNote text={error} />
      {!plans && !error && <Skeleton rows={5} />}
      {plans?.length === 0 && <Empty icon="plans" title={t().noPlansTitle} text={t().noPlansText} />}
      <ul class="rows">
        {plans?.map((plan) => (
          <li key={plan.id}>
            <a class="row" href={href(`/plans/${plan.id}`)} data-testid={`plan-${plan.id}`}>
              <span class="row-text">
                <b>{plan.name}</b>
                <span>{t().goal[plan.goal]} · {t().daysCount(plan.duration_days)}{plan.target?.energy_mkcal ? ` · ${kcal(plan.target.energy_mkcal)} kcal` : ''}</span>
              </span>
              <span class={`chip is-plan-${plan.status}`}>{t().planStatus[plan.status]}</span>
              <Icon name="right" size={18} />
            </a>
          </li>
        ))}
      </ul>
      {cursor && <button class="button is-wide" onClick={() => void load(cursor)}>{t().showMore}</button>}
    </main>
  );
}
