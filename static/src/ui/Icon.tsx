// Line icons on a 24 by 24 grid. They are decorative: the adjacent text or the button's label carries the meaning.
const paths = {
  check: 'M5 12.5l4.5 4.500L19 7.5',
  part: 'M12 3a9 9 0 1 0 9 9h-9z M15.5 3.700a9 9 0 0 1 4.8 4.800h-4.800z',
  skip: 'M6 6l8 6-8 6z M18 6v12',
  undo: 'M9 7L4.5 11.5 9 16 M4.5 11.500H14a5.5 5.5 0 0 1 0 11h-2',
  left: 'M14.5 6L8.5 12l6 6',
  right: 'M9.5 6l6 6-6 6',
  plus: 'M12 5v14 M5 12h14',
  minus: 'M5 12h14',
  close: 'M6 6l12 12 M18 6L6 18',
  search: 'M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14z M16 16l4.5 4.5',
  bell: 'M12 4v0a6 6 0 0 1 6 6c0 5 2 6.5 2 6.500H4S6 15 6 10a6 6 0 0 1 6-6z M10 20a2.2 2.2 0 0 0 4 0',
  edit: 'M4 20l1-4.500L16 4.500l3.5 3.500L8.5 19z M13.5 7l3.5 3.5',
  offline: 'M3 3l18 18 M5 12.500a10 10 0 0 1 4.5-2.6 M2 9a15 15 0 0 1 4.5-2.8 M11 6a15 15 0 0 1 11 3 M15 10.500a10 10 0 0 1 4 2 M8.5 16a5 5 0 0 1 7 0 M12 19.500h.01',
  day: 'M5 5.500h14v14.500H5z M5 10h14 M9 3v4 M15 3v4',
  wall: 'M4 4h7v7H4z M13 4h7v7h-7z M4 13h7v7H4z M13 13h7v7h-7z',
  plans: 'M6 3h9l4 4v14H6z M9.5 12h6 M9.5 16h6 M9.5 8h2',
  people: 'M9 4.500a3.500 3.500 0 1 0 0 7 3.500 3.500 0 0 0 0-7z M2.500 20c.5-4 3-6 6.500-6s6 2 6.500 6 M15.500 5a3.500 3.500 0 0 1 0 6.500 M18 14.500c2 .8 3.200 2.700 3.500 5.500',
  trash: 'M4.5 7h15 M9 7V4h6v3 M6.5 7l1 13h9l1-13',
  out: 'M14 4H6v16h8 M10.5 12H20 M16.5 8l4 4-4 4',
  device: 'M4 5h16v11H4z M9 20h6 M12 16v4',
  link: 'M10 14a4 4 0 0 0 5.700 0l3-3a4 4 0 0 0-5.700-5.700l-1 1 M14 10a4 4 0 0 0-5.700 0l-3 3a4 4 0 0 0 5.700 5.700l1-1',
  warn: 'M12 4l9 16H3z M12 10v4.5 M12 17.500h.01',
  leaf: 'M5 14c0-6 5-9 15-9 0 10-4 15-9.5 15A5.5 5.5 0 0 1 5 14z M3.5 21c2-5 5-8 10-10.5',
} as const;

export type IconName = keyof typeof paths;

export function Icon({ name, size = 20 }: { name: IconName; size?: number }) {
  return (
    <svg class="icon" width={size} height={size} viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.9"
      stroke-linecap="round" stroke-linejoin="round" aria-hidden="true" focusable="false">
      <path d={paths[name]} />
    </svg>
  );
}
