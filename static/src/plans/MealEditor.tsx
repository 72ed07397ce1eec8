// Edits a meal. A save carries the version of the plan that the form is based on, so that nobody's change is
// overwritten. If somebody else changes this meal in the meantime, the editor shows their changes and can adopt them
// without losing input.
import { useRef, useState } from 'preact/hooks';
import { call, explain, Problem } from '../api/client';
import type { MealChanged, MealState } from '../api/types';
import { kcal } from '../format';
import { t } from '../i18n';
import { same } from '../live/changes';
import { ErrorNote } from '../ui/bits';
import { Icon } from '../ui/Icon';
import { notify } from '../ui/Notices';
import { slotName } from '../ui/slot';
import { Conflict } from './Conflict';
import { changedFields, draft, itemGrams, mealState, patch, problems, rebase, type Draft, type DraftItem } from './draft';
import { FoodSearch } from './FoodSearch';
import { ItemRow } from './ItemRow';

interface MealEditorProps {
  plan: string;
  /** The plan's current version and the current meal; both can change while the form is open. */
  version: number;
  meal: MealState | undefined;
  day: number;
  id: string;
  note?: string;
  onDone: () => void;
}

export function MealEditor({ plan, version, meal, day, id, note, onDone }: MealEditorProps) {
  // The meal exists when the form opens; it becomes undefined if somebody removes it later.
  const [base, setBase] = useState<{ version: number; meal: MealState } | undefined>(() => meal && { version, meal });
  const [form, setForm] = useState<Draft | undefined>(() => meal && draft(meal));
  const [fetched, setFetched] = useState<{ version: number; meal: MealState }>();
  const [error, setError] = useState<string>();
  const [busy, setBusy] = useState(false);
  const errors = useRef<HTMLFormElement>(null);
  if (!base || !form) return null;

  const newest = fetched && fetched.version >= version ? fetched : meal && { version, meal };
  const conflict = newest && !same(newest.meal, base.meal) ? newest : undefined;
  const from = draft(base.meal);
  const wrong = problems(form);
  const touched = changedFields(from, form);
  const path = `plans/${plan}/days/${day}/meals/${id}`;
  const change = (part: Partial<Draft>): void => setForm({ ...form, ...part });
  const changeItem = (key: string, part: Partial<DraftItem>): void =>
    change({ items: form.items.map((item) => (item.key === key ? { ...item, ...part } : item)) });
  const energy = form.items.reduce((sum, item) => sum + (item.energy_per_gram * itemGrams(item)) / 1000, 0);

  async function save(): Promise<void> {
    if (!base || !form) return;
    if (wrong.title || wrong.items.length > 0) {
      errors.current?.querySelector<HTMLElement>('[aria-invalid=true]')?.focus();
      return setError(t().checkFields);
    }
    setBusy(true);
    setError(undefined);
    try {
      // A change of another meal raises the plan's version, too, but does not conflict with this one.
      const ifMatch = !conflict && newest ? newest.version : base.version;
      await call<MealChanged>(path, { method: 'PATCH', body: patch(from, form), ifMatch });
      notify(t().saved);
      return onDone();
    } catch (failure) {
      if (failure instanceof Problem && failure.status === 412) {
        const now = await call<MealChanged>(path).catch(() => undefined);
        if (now) setFetched({ version: now.version, meal: mealState(now.meal) });
      }
      setError(explain(failure, t().noServer));
    }
    setBusy(false);
  }

  function takeOver(): void {
    if (!newest || !form) return;
    setForm(rebase(from, form, draft(newest.meal)));
    setBase(newest);
    setError(undefined);
  }

  return (
    <form class="editor" ref={errors} noValidate onSubmit={(event) => { event.preventDefault(); void save(); }} data-testid="meal-editor">
      <button type="button" class="button is-quiet editor-back" onClick={onDone}><Icon name="left" />{t().back}</button>
      <h3>{t().editMeal(base.meal.title || slotName(base.meal.slot))}</h3>
      {note && <p class="muted">{note}</p>}
      {meal === undefined && <ErrorNote text={t().mealRemoved} />}
      {conflict && <Conflict base={from} theirs={draft(conflict.meal)} kept={touched} onTakeOver={takeOver} />}
      <label class="field">
        <span>{t().mealTitle}</span>
        <input value={form.title} maxLength={200} aria-invalid={wrong.title} data-testid="edit-title"
          onInput={(event) => change({ title: event.currentTarget.value })} />
      </label>
      <label class="field is-short">
        <span>{t().mealTime}</span>
        <input type="time" value={form.time} data-testid="edit-time" onInput={(event) => change({ time: event.currentTarget.value })} />
      </label>
      <label class="field">
        <span>{t().mealNotes}</span>
        <textarea rows={2} maxLength={2000} value={form.notes} data-testid="edit-notes" onInput={(event) => change({ notes: event.currentTarget.value })} />
      </label>
      <fieldset class="editor-items">
        <legend>{t().foods}<span class="kcal"><b>{kcal(energy)}</b> kcal</span></legend>
        <ul>
          {form.items.map((item) => (
            <ItemRow key={item.key} item={item} invalid={wrong.items.includes(item.key)}
              onChange={(part) => changeItem(item.key, part)}
              onRemove={() => change({ items: form.items.filter((other) => other.key !== item.key) })} />
          ))}
        </ul>
        <FoodSearch onPick={(item) => change({ items: [...form.items, item] })} />
      </fieldset>
      <ErrorNote text={error} />
      <div class="editor-foot">
        <button type="button" class="button is-quiet" onClick={onDone}>{t().cancel}</button>
        <button class="button is-primary" disabled={busy || touched.length === 0 || meal === undefined} data-testid="edit-save">
          {busy ? t().saving : t().save}
        </button>
      </div>
    </form>
  );
}
