import type { Slot } from '../api/types';
import { t } from '../i18n';

export const slotName = (slot: Slot): string => t().slot[slot];
