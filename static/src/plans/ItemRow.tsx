import { foodName, kcal, weight } from '../format';
import { t } from '../i18n';
import { Icon } from '../ui/Icon';
import { itemGrams, type DraftItem } from './draft';

interface ItemRowProps { item: DraftItem; invalid: boolean; onChange: (part: Partial<DraftItem>) => void; onRemove: () => void }

export function ItemRow({ item, invalid, onChange, onRemove }: ItemRowProps) {
  const name = foodName(item);
  const grams = itemGrams(item);
  return (
    <li class="edit-item" data-testid="edit-item">
      <span class="edit-item-name">
        <b>{name}</b>
        <span class="muted">{item.unit === 'g' ? '' : `${weight(grams)} · `}{kcal((item.energy_per_gram * grams) / 1000)} kcal</span>
      </span>
      <label class="amount">
        <span class="sr-only">{t().amountOf(name)}</span>
        <input inputMode="decimal" value={item.amount} aria-invalid={invalid} data-testid="edit-amount"
          onInput={(event) => onChange({ amount: event.currentTarget.value })} />
        <span>{item.unit}</span>
      </label>
      <button type="button" class="icon-button" aria-label={t().removeFood(name)} onClick={onRemove} data-testid="edit-remove">
        <Icon name="trash" size={18} />
      </button>
    </li>
  );
}
