// The account menu behind the avatar: name, language, sessions, signing out.
import { useEffect, useRef, useState } from 'preact/hooks';
import { t } from '../i18n';
import { pending } from '../live/connection';
import { href } from '../router';
import { me, signOut } from '../session';
import { Avatar } from '../ui/bits';
import { Icon } from '../ui/Icon';
import { LanguageSwitch } from './LanguageSwitch';

export function AccountMenu() {
  const [shown, setShown] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);

  useEffect(() => {
    if (!shown) return;
    const onPointer = (event: PointerEvent): void => {
      if (!root.current?.contains(event.target as Node)) setShown(false);
    };
    const onKey = (event: KeyboardEvent): void => {
      if (event.key !== 'Escape') return;
      setShown(false);
      button.current?.focus();
    };
    document.addEventListener('pointerdown', onPointer);
    document.addEventListener('keydown', onKey);
    return () => {
      document.removeEventListener('pointerdown', onPointer);
      document.removeEventListener('keydown', onKey);
    };
  }, [shown]);

  const leave = (): void => {
    const unsent = pending.value.filter((command) => !command.done).length;
    if (unsent === 0 || confirm(t().signOutLoses(unsent))) void signOut();
  };

  const who = me.value;
  if (!who) return null;
  return (
    <div class="account" ref={root}>
      <button ref={button} class="account-button" aria-expanded={shown} aria-controls="account-menu" data-testid="account"
        aria-label={t().accountOf(who.account.name)} onClick={() => setShown(!shown)}>
        <Avatar name={who.account.name} />
      </button>
      <div class="menu" id="account-menu" hidden={!shown}>
        <div class="menu-who">
          <b>{who.account.name}</b>
          <span>{who.account.email}</span>
          <span>{who.gym.name} · {who.roles.map((role) => t().role[role]).join(', ')}</span>
        </div>
        <LanguageSwitch />
        <a class="menu-item" href={href('/account')} onClick={() => setShown(false)} data-testid="sessions">
          <Icon name="device" />{t().sessions}
        </a>
        <button class="menu-item" onClick={leave} data-testid="signout"><Icon name="out" />{t().signOut}</button>
      </div>
    </div>
  );
}
