import { relative } from '../format';
import { t } from '../i18n';
import { me } from '../session';
import { Icon, type IconName } from '../ui/Icon';
import { useNow } from '../ui/now';
import { feed, type FeedRow } from './feed';

function icon(type: string): IconName {
  if (type === 'meal.completed') return 'check';
  if (type === 'meal.partial') return 'part';
  if (type === 'meal.skipped') return 'skip';
  if (type === 'meal.undone') return 'undo';
  return type.startsWith('follow') || type.startsWith('assignment') ? 'leaf' : 'edit';
}

function sentence(row: FeedRow): string {
  const say = t().feed[row.type as keyof ReturnType<typeof t>['feed']] ?? t().feed.other;
  const count = row.planned !== undefined ? ` · ${t().mealsOf(row.done ?? 0, row.planned)}` : '';
  return say(row.meal) + (row.type.startsWith('meal.') && row.member ? count : '');
}

export function Feed() {
  const now = useNow();
  return (
    <aside class="feed" aria-labelledby="feed-title" data-testid="feed">
      <h2 id="feed-title">{t().feedTitle}</h2>
      {feed.value.length === 0 && <p class="muted feed-empty">{t().feedEmpty}</p>}
      <ol aria-live="polite" aria-relevant="additions">
        {feed.value.map((row) => (
          <li key={row.id} class="feed-row">
            <span class={`feed-icon is-${icon(row.type)}`}><Icon name={icon(row.type)} size={16} /></span>
            <span class="feed-text">
              <b>{row.who}</b> {sentence(row)}
              {row.actor && row.actor === me.value?.account.id && <span class="muted"> · {t().you}</span>}
              <time datetime={row.at}>{relative(Math.min(0, Math.round((Date.parse(row.at) - now) / 60_000)))}</time>
            </span>
          </li>
        ))}
      </ol>
    </aside>
  );
}
