// The API's shapes, as the app names them. Written by the contract; to use generated types, run `npm run types` and replace
// each interface by an alias, e.g. `export type Plan = components['schemas']['Plan'];`. Nothing else imports the schema.

export type Role = 'owner' | 'manager' | 'nutritionist' | 'trainer' | 'member' | 'auditor';
export type Slot =
  | 'breakfast' | 'mid_morning' | 'lunch' | 'snack' | 'dinner' | 'late' | 'pre_workout' | 'post_workout' | 'custom';
export type Goal = 'lose_fat' | 'maintain' | 'gain_muscle' | 'recomposition' | 'performance' | 'health';
export type PlanStatus = 'draft' | 'published' | 'archived';
export type Cycle = 'fixed' | 'weekly' | 'training_rest';
export type FollowStatus = 'active' | 'paused' | 'completed' | 'abandoned' | 'blocked';
export type CompletionStatus = 'eaten' | 'partial' | 'skipped';
export type AllergenLevel = 'contains' | 'traces' | 'absent';

export interface Nutrients {
  energy_mkcal?: number;
  protein_mg?: number;
  carbohydrate_mg?: number;
  sugars_mg?: number;
  fibre_mg?: number;
  fat_mg?: number;
  saturated_fat_mg?: number;
  sodium_mg?: number;
  alcohol_mg?: number;
  potassium_mg?: number;
  vitamin_k_ng?: number;
  known_permille?: Record<string, number>;
}

export interface Account { id: string; email: string; name: string; locale: string; time_zone?: string }
export interface Gym { id: string; slug: string; name: string; time_zone: string; locale: string; day_start: number }
export interface Me { session_id: string; account: Account; gym: Gym; roles: Role[]; channels: string[] }
export interface Session extends Me { access_token: string; refresh_token: string; token_type: string; expires_in: number }
export interface SessionRow {
  id: string; created_at: string; last_used_at: string; user_agent?: string; ip_address?: string; current: boolean;
}
export interface Demo { accounts: { email: string; name: string; roles: Role[] }[]; password: string }
export interface Membership { account_id: string; email: string; name: string; roles: Role[]; status: string; created_at: string }

export interface Page<T> { items: T[]; next_cursor?: string }

export interface Portion { name_en: string; name_es: string; grams_milli: number }
export interface Food {
  id: string;
  scope: 'shared' | 'gym';
  name_en: string;
  name_es: string;
  brand?: string;
  per_100g: Nutrients;
  allergens: Record<string, AllergenLevel>;
  portions: Portion[];
  verified: boolean;
}

export interface ItemFields {
  position: number;
  food_id: string;
  name_en: string;
  name_es: string;
  quantity_milli: number;
  unit: string;
  grams_milli: number;
  nutrients: Nutrients;
  allergens: Record<string, AllergenLevel>;
}
export interface MealFields {
  slot: Slot;
  title: string;
  time_min?: number;
  position: number;
  notes?: string;
  nutrients: Nutrients;
}
export interface Item extends ItemFields { id: string }
export interface Meal extends MealFields { id: string; items: Item[] }
export interface Target { energy_mkcal?: number; protein_mg?: number; carbohydrate_mg?: number; fat_mg?: number }
export interface Day { id: string; number: number; title?: string; nutrients: Nutrients; meals: Meal[] }
export interface PlanSummary {
  id: string;
  kind: 'template' | 'plan' | 'live';
  goal: Goal;
  name: string;
  description?: string;
  target?: Target;
  duration_days: number;
  cycle: Cycle;
  status: PlanStatus;
  visibility: 'gym' | 'trainer' | 'assigned';
  start_date?: string;
  version: number;
  revision: number;
  updated_at: string;
  nutrients: Nutrients;
}
export interface Plan extends PlanSummary { days: Day[] }

/** An item as it is sent: by grams, or by a quantity of one of the food's portions. */
export interface NewItem {
  food_id: string;
  grams_milli?: number;
  quantity_milli?: number;
  unit?: string;
  position?: number;
}
export interface MealPatch { slot?: Slot; title?: string; time_min?: number | null; notes?: string | null; items?: NewItem[] }
export interface MealChanged { version: number; revision: number; meal: Meal }

export interface Follow {
  id: string;
  member_id: string;
  plan_id: string;
  plan_name: string;
  revision: number;
  status: FollowStatus;
  start_date: string;
  time_zone: string;
}
export interface Completion {
  status: CompletionStatus;
  portion_permille: number;
  title: string;
  plan_revision: number;
  on_behalf: boolean;
  at: string;
}
export interface Progress {
  meals_planned: number;
  meals_done: number;
  meals_skipped: number;
  planned: Nutrients;
  eaten: Nutrients;
}

// What the channels hold: trees as maps by id.
export interface PlanState {
  plan: Pick<PlanSummary, 'id' | 'name' | 'description' | 'goal' | 'status' | 'revision' | 'version' | 'duration_days' | 'cycle' | 'target'>;
  nutrients: Nutrients;
  days: Record<string, DayState>;
}
export interface DayState { number: number; title?: string; nutrients: Nutrients; meals: Record<string, MealState> }
export interface MealState extends MealFields { items: Record<string, ItemFields> }
export interface MemberState {
  follow?: Follow;
  completions: Record<string, Record<string, Completion>>;
  progress: Record<string, Progress>;
}
export interface RosterState {
  members: Record<string, { name: string; since: string; follow?: Follow; progress: Record<string, Progress> }>;
}

export interface MealCommand {
  key: string;
  meal_id: string;
  date: string;
  status?: CompletionStatus;
  portion_permille?: number;
  member_id?: string;
}
export interface MealOutcome { completion?: Completion; progress: Progress }
