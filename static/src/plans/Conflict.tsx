// Shown when somebody else has changed the meal being edited: their changes, and a button to adopt them.
import { foodName } from '../format';
import { t } from '../i18n';
import { changedFields, type Draft, type Field } from './draft';
import { Icon } from '../ui/Icon';

interface ConflictProps { base: Draft; theirs: Draft; kept: Field[]; onTakeOver: () => void }

function words(of: Draft, field: Field): string {
  if (field !== 'items') return of[field] || '–';
  return of.items.map((item) => `${foodName(item)} ${item.amount} ${item.unit}`).join(', ') || t().noItems;
}

export function Conflict({ base, theirs, kept, onTakeOver }: ConflictProps) {
  const changed = changedFields(base, theirs);
  return (
    <section class="conflict" role="alert" data-testid="conflict">
      <p><Icon name="warn" size={18} /><b>{t().conflictTitle}</b></p>
      <dl>
        {changed.map((field) => (
          <div key={field}>
            <dt>{t().field[field]}</dt>
            <dd><del>{words(base, field)}</del> <ins>{words(theirs, field)}</ins></dd>
            {kept.includes(field) && <dd class="muted">{t().conflictKept}</dd>}
          </div>
        ))}
      </dl>
      <button type="button" class="button is-small" onClick={onTakeOver} data-testid="conflict-reload">{t().conflictReload}</button>
    </section>
  );
}
