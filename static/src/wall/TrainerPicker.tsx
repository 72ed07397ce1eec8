// Lets a manager choose the trainer whose wall to show; starts with the first trainer.
import { useEffect, useState } from 'preact/hooks';
import { call } from '../api/client';
import type { Membership, Page } from '../api/types';
import { t } from '../i18n';
import { navigate } from '../router';

export function TrainerPicker({ chosen }: { chosen: string | undefined }) {
  const [trainers, setTrainers] = useState<Membership[]>([]);
  useEffect(() => {
    call<Page<Membership>>('memberships?role=trainer&limit=200').then((page) => {
      setTrainers(page.items);
      const first = page.items[0];
      if (!chosen && first) navigate(`/wall?trainer=${encodeURIComponent(first.account_id)}`, { replace: true });
    }, () => undefined);
  }, []);
  return (
    <label class="select trainer-picker">
      <span>{t().trainer}</span>
      <select value={chosen ?? ''} data-testid="trainer-picker"
        onChange={(event) => navigate(`/wall?trainer=${encodeURIComponent(event.currentTarget.value)}`)}>
        {!trainers.some((trainer) => trainer.account_id === chosen) && <option value={chosen ?? ''}>{t().choose}</option>}
        {trainers.map((trainer) => <option key={trainer.account_id} value={trainer.account_id}>{trainer.name}</option>)}
      </select>
    </label>
  );
}
