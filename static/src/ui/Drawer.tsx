// A panel over the page: from the right on wide screens, full screen on phones. The native dialog traps the focus and
// closes on Escape.
import { useEffect, useRef } from 'preact/hooks';
import { t } from '../i18n';
import { Icon } from './Icon';
import { drawers, NoticeList } from './Notices';

interface DrawerProps {
  label: string;
  title: preact.ComponentChildren;
  onClose: () => void;
  children: preact.ComponentChildren;
}

export function Drawer({ label, title, onClose, children }: DrawerProps) {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = ref.current;
    const before = document.activeElement as HTMLElement | null;
    dialog?.showModal();
    document.documentElement.classList.add('is-locked');
    drawers.value += 1;
    return () => {
      drawers.value -= 1;
      dialog?.close();
      // Removing the element from the DOM does not restore the focus, unlike closing the dialog.
      requestAnimationFrame(() => before?.focus());
      document.documentElement.classList.remove('is-locked');
    };
  }, []);
  return (
    <dialog ref={ref} class="drawer" aria-label={label} data-testid="panel"
      onCancel={(event) => { event.preventDefault(); onClose(); }}
      onClick={(event) => { if (event.target === ref.current) onClose(); }}>
      <div class="drawer-body">
        <header class="drawer-head">
          <div class="drawer-title">{title}</div>
          <button class="icon-button" aria-label={t().close} onClick={onClose} data-testid="panel-close"><Icon name="close" /></button>
        </header>
        {children}
      </div>
      <NoticeList />
    </dialog>
  );
}
