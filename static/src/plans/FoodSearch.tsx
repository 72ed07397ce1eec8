// Searches for a food to add; the server's search tolerates typos. A combobox: arrow keys, Enter, Escape.
import { useEffect, useId, useRef, useState } from 'preact/hooks';
import { call, query } from '../api/client';
import type { Food, Page } from '../api/types';
import { foodName, kcal, weight } from '../format';
import { language, t } from '../i18n';
import { randomId } from '../ids';
import { Icon } from '../ui/Icon';
import type { DraftItem } from './draft';

/** Makes an item of a food: one portion if the food has any, otherwise 100 g. */
function asItem(food: Food): DraftItem {
  const portion = food.portions[0];
  const unit = portion && (language.value === 'es' ? portion.name_es : portion.name_en);
  return {
    key: randomId(), food_id: food.id, name_en: food.name_en, name_es: food.name_es,
    unit: unit ?? 'g', amount: unit ? '1' : '100', per_unit: portion && unit ? portion.grams_milli : 1000,
    energy_per_gram: (food.per_100g.energy_mkcal ?? 0) / 100,
  };
}

export function FoodSearch({ onPick }: { onPick: (item: DraftItem) => void }) {
  const list = useId();
  const [text, setText] = useState('');
  const [found, setFound] = useState<Food[]>();
  const [active, setActive] = useState(0);
  const results = useRef<HTMLUListElement>(null);
  // Scroll the results out from under the editor's footer and, on phones, the keyboard.
  useEffect(() => results.current?.scrollIntoView({ block: 'nearest' }), [found]);

  useEffect(() => {
    const wanted = text.trim();
    if (wanted.length < 2) return setFound(undefined);
    const stop = new AbortController();
    const timer = setTimeout(() => {
      call<Page<Food>>(`foods${query({ q: wanted, limit: 8 })}`, { signal: stop.signal }).then(
        (page) => { setFound(page.items); setActive(0); }, () => undefined);
    }, 180);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [text]);

  function pick(food: Food | undefined): void {
    if (!food) return;
    onPick(asItem(food));
    setText('');
  }

  function onKey(event: KeyboardEvent): void {
    const count = found?.length ?? 0;
    if (event.key === 'Enter') { event.preventDefault(); pick(found?.[active]); }
    else if (event.key === 'Escape' && text) { event.preventDefault(); event.stopPropagation(); setText(''); }
    else if (count && event.key === 'ArrowDown') { event.preventDefault(); setActive((active + 1) % count); }
    else if (count && event.key === 'ArrowUp') { event.preventDefault(); setActive((active + count - 1) % count); }
  }

  return (
    <div class="food-search">
      <label class="search">
        <Icon name="search" size={18} /><span class="sr-only">{t().addFood}</span>
        <input role="combobox" aria-expanded={!!found} aria-controls={list} aria-autocomplete="list" autocomplete="off"
          aria-activedescendant={found?.[active] ? `${list}-${active}` : undefined} placeholder={t().addFood} value={text}
          data-testid="food-search" onInput={(event) => setText(event.currentTarget.value)} onKeyDown={onKey} />
      </label>
      {found && (
        <ul ref={results} class="food-results" id={list} role="listbox" aria-label={t().foods}>
          {found.map((food, index) => (
            <li key={food.id} id={`${list}-${index}`} role="option" aria-selected={index === active} data-testid="food-result"
              onPointerMove={() => setActive(index)} onPointerDown={(event) => event.preventDefault()} onClick={() => pick(food)}>
              <span><b>{foodName(food)}</b>{food.brand && <span class="muted"> {food.brand}</span>}</span>
              <span class="muted">{kcal(food.per_100g.energy_mkcal)} kcal / {weight(100_000)}</span>
            </li>
          ))}
          {found.length === 0 && <li class="muted nothing">{t().noFoods}</li>}
        </ul>
      )}
    </div>
  );
}
