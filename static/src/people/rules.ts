// Mirrors of the server's rules, so that no button leads to a refusal.
import type { Membership, Role } from '../api/types';

/** Roles that the form of an invitation offers, in order. */
const ALL: Role[] = ['member', 'trainer', 'nutritionist', 'manager', 'auditor', 'owner'];

/** The roles that somebody may invite others with: owners all of them, managers trainer and member. */
export function mayInviteAs(mine: ReadonlySet<Role>): Role[] {
  if (mine.has('owner')) return ALL;
  return mine.has('manager') ? ['member', 'trainer'] : [];
}

/** Whether somebody may manage an invitation with these roles. */
export function mayManage(mine: ReadonlySet<Role>, roles: Role[]): boolean {
  const may = mayInviteAs(mine);
  return roles.every((role) => may.includes(role));
}

/** Whether somebody may make a link to set a new password for a person. The server also refuses people of several gyms. */
export function mayReset(mine: ReadonlySet<Role>, person: Pick<Membership, 'roles' | 'status'>): boolean {
  if (person.status === 'ended' || person.roles.includes('owner')) return false;
  if (mine.has('owner')) return true;
  return mine.has('manager') && person.roles.every((role) => role === 'member');
}
