/** Types of crowdstack's client: what a task's page may use of the global `crowdstack` of `/client.js`. */

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** One worker's answers to one unit: what the spec's `answers` schema describes. */
export type Answers = { [field: string]: Json };

/** The server has the answers on disk. `late`: they came after the deadline and count if the unit was still open. */
export interface Receipt {
  /** The server's number of this submission; null in preview, where nothing is sent. */
  receipt: number | null;
  late: boolean;
}

export interface FieldError {
  /** JSON Pointer into the answers: "/label"; "" for the whole. */
  path: string;
  message: string;
}

/**
 * Why answers were not taken. `refused`: they do not fit the schema (`errors` says where), put them right and submit again.
 * `already_submitted`: another tab was faster. `unknown_assignment`: the server knows no such hold of this worker.
 */
export interface Problem extends Error {
  code: string;
  errors: FieldError[];
}

export type State =
  | "connecting" | "working" | "sending" | "saved" | "late" | "refused" | "answered" | "undelivered" | "returned" | "expired"
  | "reconnecting" | "offline" | "busy" | "wait" | "reload" | "outdated" | "done" | "stopped" | "forbidden" | "no_link" | "fault"
  | "preview" | "review" | "no_sample";

/** What the worker should know now. */
export interface Status {
  state: State;
  tone: "calm" | "wait" | "good" | "warn" | "bad";
  /** A sentence for the worker. */
  text: string;
  /** A heading, for states in which there is no unit to show. */
  title: string;
  /** At the end: the text that the spec declares in `completion`. */
  completion: string;
  /** At the end: a code that the worker hands in where the study was found; "" if there is none. */
  code: string;
  /** At the end: where the visit is finished, https; the client goes there by itself after 3 seconds. "" if nowhere. */
  url: string;
  /** True if nothing more will come in this page. */
  final: boolean;
  /** True while the page shows a unit. */
  unit: boolean;
  progress: { done: number; limit: number | null } | null;
  deadline: Date | null;
}

export interface Options {
  /** Draw the status yourself; without it the client draws a bar at the foot of the page. */
  onStatus?: (status: Status) => void;
}

/** One unit in the page. `D`: the columns that the spec's `app.uses` names. */
export interface Task<D = any> {
  /** `work`; `preview`: the spec's sample, nothing is kept; `review`: an item with the answers it got, read-only. */
  readonly mode: "work" | "preview" | "review";
  /** The item. Show it as text (`textContent`). */
  readonly data: D;
  /** In review: the answers that were given. */
  readonly answers: Answers | null;
  readonly deadline: Date | null;
  /** Units done in this visit, and how many it may hold; null: no limit. */
  readonly progress: { done: number; limit: number | null } | null;

  /**
   * Sends the answers; resolves when they are durable at the server. They survive a lost connection, a dead server, a
   * reload, and a closed tab that is opened again. Rejects with a `Problem`. While one is under way, a repeat is the same one.
   */
  submit(answers: Answers): Promise<Receipt>;

  /**
   * Lets a form do the work: clears it, restores a draft, and at its submit sends the fields by name, shows refused
   * answers beside their fields, and resolves once they are durable. In review it shows the answers, read-only, and resolves
   * at once. Numbers come from number and range fields, booleans from single checkboxes, lists from several checkboxes of
   * one name and multiple selects, text from the rest; a submit button's name and value count; what is empty is left out.
   */
  form(form: HTMLFormElement): Promise<Receipt>;

  /** Gives the unit back, unanswered: somebody else gets it. */
  return_(): Promise<void>;

  /** The next unit, or null when there is none (the worker is shown why). */
  next(): Promise<Task<D> | null>;
}

export interface Crowdstack {
  /** Joins the server; resolves with the first unit. If there is none, it stays pending and the worker reads why. */
  connect(options?: Options): Promise<Task>;

  /** Calls `show` with every unit in turn; the next comes once this one is submitted or returned. */
  run(show: (task: Task) => void | Promise<unknown>, options?: Options): Promise<void>;

  readonly Problem: new (code: string, message: string, errors?: FieldError[]) => Problem;
}

declare global {
  const crowdstack: Crowdstack;
}
