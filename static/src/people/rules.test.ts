import { expect, test } from 'vitest';
import type { Role } from '../api/types';
import { mayInviteAs, mayManage, mayReset } from './rules';

const of = (...roles: Role[]): Set<Role> => new Set(roles);

test('owners invite everybody, managers invite trainers and members, others nobody', () => {
  expect(mayInviteAs(of('owner'))).toHaveLength(6);
  expect(mayInviteAs(of('manager', 'nutritionist'))).toEqual(['member', 'trainer']);
  expect(mayInviteAs(of('nutritionist', 'trainer'))).toEqual([]);
  expect(mayManage(of('manager'), ['member', 'trainer'])).toBe(true);
  expect(mayManage(of('manager'), ['member', 'auditor'])).toBe(false);
});

test('managers reset members only, owners reset everybody but owners', () => {
  const person = (...roles: Role[]) => ({ roles, status: 'active' as const });
  expect(mayReset(of('manager'), person('member'))).toBe(true);
  expect(mayReset(of('manager'), person('member', 'trainer'))).toBe(false);
  expect(mayReset(of('owner'), person('manager'))).toBe(true);
  expect(mayReset(of('owner'), person('member', 'owner'))).toBe(false);
  expect(mayReset(of('owner'), { roles: ['member'], status: 'ended' })).toBe(false);
  expect(mayReset(of('trainer'), person('member'))).toBe(false);
});
