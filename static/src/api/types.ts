// The API's types under the app's names. They come from `schema.ts`, which is generated from the server's OpenAPI
// document; only this file imports it. Types are written by hand here only where the document cannot express them.
import type { components } from './schema';

type Schemas = components['schemas'];

export type Role = Schemas['Role'];
export type Slot = Schemas['Slot'];
export type Goal = Schemas['Goal'];
export type PlanStatus = Schemas['PlanStatus'];
export type CompletionStatus = Schemas['CompletionStatus'];
export type Nutrients = Schemas['Nutrients'];

export type Me = Schemas['Me'];
export type Session = Schemas['Session'];
export type SessionRow = Schemas['DeviceSession'];
export type Demo = Schemas['Demo'];
export type DemoAccount = Schemas['DemoAccount'];
export type Membership = Schemas['Membership'];
export type Invitation = Schemas['Invitation'];
export type InvitationLink = Schemas['InvitationLink'];
export type ResetLink = Schemas['ResetLink'];
export type OpenedInvitation = Schemas['OpenedInvitation'];
export type OpenedReset = Schemas['OpenedReset'];
export type ClaimedAccount = Schemas['ClaimedAccount'];

/** A page of a list. The OpenAPI document has a separate type for each kind of item. */
export type Page<T> = Omit<Schemas['Page_Food'], 'items'> & { items: T[] };

export type Food = Schemas['Food'];
export type Meal = Schemas['Meal'];
export type PlanSummary = Schemas['PlanSummary'];
export type Plan = Schemas['Plan'];
export type NewItem = Schemas['NewItem'];
export type MealPatch = Schemas['MealPatch'];
export type MealChanged = Schemas['PlanMeal'];

// Snapshots of the live channels: trees as maps by identifier.
export type PlanState = Schemas['PlanState'];
export type DayState = Schemas['DayState'];
export type MealState = Schemas['MealState'];
export type ItemState = Schemas['ItemState'];
export type MemberState = Schemas['MemberState'];
export type RosterState = Schemas['RosterState'];
export type RosterMember = Schemas['RosterMember'];
export type Follow = Schemas['Follow'];
export type Completion = Schemas['CompletionState'];
export type Progress = Schemas['ProgressState'];

/** The body of `meal.complete` or `meal.undo`. It always carries an idempotency key, so that a retry is safe. */
export type MealCommand = Schemas['Undo'] & Partial<Pick<Schemas['NewCompletion'], 'status' | 'portion_permille'>> & { key: string };
export type MealOutcome = Schemas['Outcome'];
