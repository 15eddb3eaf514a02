// crowdstack client: joins a task's page and the task server. No dependencies, no build step, ES2020.
//
// What a page uses is described in client.d.ts, the frames in docs/protocol.md. The promise kept here: once `submit` was
// called, the answers are in the browser's storage before they leave, and go out again, under the same nonce, after
// whatever happens (connection lost, server killed, page reloaded, tab closed and opened again) until the server has
// said `accepted` (durable) or why it never will.
(() => {
  "use strict";

  /** @typedef {import("./client").Task} Task */
  /** @typedef {import("./client").Answers} Answers */
  /** @typedef {import("./client").Receipt} Receipt */
  /** @typedef {import("./client").Status} Status */
  /** @typedef {import("./client").State} State */
  /** @typedef {import("./client").FieldError} FieldError */
  /** @typedef {{type: string, [field: string]: any}} Frame */
  /** @typedef {{worker: string, assignment: string, nonce: string, answers: Answers, signals: object, at: number}} Unsent */
  /** @typedef {{resolve: (receipt: Receipt) => void, reject: (problem: Error) => void}} Waiter */
  /** @typedef {{ask: (frame: Frame) => Promise<Frame>, drop: () => void, isOpen: () => boolean}} Line a socket that answers */

  const PROTOCOL = 1;
  const ANSWER_MS = 20_000; // a server that says nothing for so long is gone
  const BACKOFF_MS = { first: 400, most: 15_000 };
  const POST_AFTER = 2; // failed tries of the socket before answers go by POST
  const CURTAIN_MS = 600; // how long a page may stand there without a unit before it is covered
  const FINISH_MS = 3000; // the code may be read before the page goes where the visit is finished
  const DAY_MS = 86_400_000;

  /** The connection broke: the same request may be made again on the next one. */
  class Lost extends Error {}

  /** Nothing more will come in this visit; the worker has been told. */
  class Ended extends Error {}

  /** Why answers were not taken. */
  class Problem extends Error {
    /** @param {string} code @param {string} message @param {FieldError[]} errors */
    constructor(code, message, errors = []) {
      super(message);
      this.name = "Problem";
      this.code = code;
      this.errors = errors;
    }
  }

  /** @returns {Promise<never>} */
  const never = () => new Promise(() => {});

  const nonce = () =>
    Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

  // --- Storage: of the tab (session) and of the browser (unsent answers, drafts). Either may be full or forbidden. ---

  /** A browser's storage that never throws; `set` says whether the value is kept. @param {"localStorage" | "sessionStorage"} name */
  const shelf = (name) => {
    /** @type {Storage | null} */
    let storage = null;
    try {
      storage = window[name];
    } catch {
      // a sandboxed frame, or storage switched off
    }
    return {
      /** @param {string} key @returns {string | null} */
      get: (key) => {
        try {
          return storage && storage.getItem(`crowdstack.${key}`);
        } catch {
          return null;
        }
      },
      /** @param {string} key @param {string} value @returns {boolean} */
      set: (key, value) => {
        try {
          if (storage) storage.setItem(`crowdstack.${key}`, value);
          return storage !== null;
        } catch {
          return false;
        }
      },
      /** @param {string} key */
      remove: (key) => {
        try {
          if (storage) storage.removeItem(`crowdstack.${key}`);
        } catch {
          // then it was not kept either
        }
      },
      /** Keys that begin so. @param {string} prefix @returns {string[]} */
      keys: (prefix) => {
        try {
          const all = storage ? Object.keys(storage) : [];
          return all.filter((key) => key.startsWith(`crowdstack.${prefix}`)).map((key) => key.slice("crowdstack.".length));
        } catch {
          return [];
        }
      },
    };
  };

  const tab = shelf("sessionStorage");
  const browser = shelf("localStorage");

  /** @param {string | null} text @returns {any} */
  const parsed = (text) => {
    try {
      return text && JSON.parse(text);
    } catch {
      return null;
    }
  };

  /** Answers on their way, in the browser's storage until the server has answered for good. */
  const outbox = {
    /** @type {Map<string, Unsent>} of this page; another tab may deliver one and clear it from storage */
    own: new Map(),
    /** False once storage refused: then only this tab has the answers. */
    safe: true,

    /** @param {Unsent} entry */
    key: (entry) => `unsent.${entry.worker}.${entry.assignment}.${entry.nonce}`,

    /** @param {Unsent} entry */
    put(entry) {
      this.own.set(this.key(entry), entry);
      this.safe = browser.set(this.key(entry), JSON.stringify(entry));
    },

    /** @param {Unsent} entry */
    remove(entry) {
      browser.remove(this.key(entry));
      this.own.delete(this.key(entry));
    },

    /** Oldest first. @param {string} worker @returns {Unsent[]} */
    of(worker) {
      const entries = new Map(this.own);
      for (const key of browser.keys(`unsent.${worker}.`)) entries.set(key, parsed(browser.get(key)));
      return [...entries.values()].filter((entry) => entry && entry.worker === worker).sort((a, b) => a.at - b.at);
    },
  };

  /** Storage is not a place for old things: drafts go after a week, answers that found no server after a month. */
  const sweep = () => {
    for (const key of [...browser.keys("draft."), ...browser.keys("unsent.")]) {
      const kept = parsed(browser.get(key));
      if (!kept || Date.now() - kept.at > (key.startsWith("draft.") ? 7 : 30) * DAY_MS) browser.remove(key);
    }
  };

  // --- What the worker reads ---

  /** @type {Record<State, [Status["tone"], string]>} */
  const TEXTS = {
    connecting: ["wait", "Connecting…"],
    working: ["calm", "Connected"],
    sending: ["wait", "Saving your answer…"],
    saved: ["good", "Your answer is saved."],
    late: ["good", "The time was up, but your answer is saved. It counts if nobody else has done this one."],
    refused: ["bad", "Not saved yet: please look at the marked answers."],
    answered: ["warn", "This one was answered before, perhaps in another tab."],
    undelivered: ["bad", "The server did not take this answer."],
    returned: ["calm", "You gave this one back."],
    expired: ["warn", "The time for this one is up. You can still send your answer."],
    reconnecting: ["warn", "Connection lost. Trying again…"],
    offline: ["warn", "You are offline. This page goes on when the network is back."],
    busy: ["warn", "The server is busy. Trying again…"],
    wait: ["wait", "Nothing to do right now. Leave this page open: it asks again by itself."],
    reload: ["wait", "The task has changed. Loading the new page…"],
    outdated: ["bad", "The task has changed and this page did not. Close the tab and open your link again."],
    done: ["good", "You can close this tab."],
    stopped: ["bad", "You can close this tab."],
    forbidden: ["bad", "This page is signed in no longer. Open your link again to go on."],
    no_link: ["bad", "Open the link that you were given: it says who you are."],
    fault: ["bad", "This page has a fault. Please tell whoever sent you here."],
    preview: ["calm", "Preview: try it out, nothing is kept."],
    review: ["calm", "Review: an answer as it was given."],
    no_sample: ["bad", "This task declares no sample to preview."],
  };

  /** @type {Partial<Record<State, string>>} */
  const TITLES = {
    connecting: "One moment",
    wait: "Please wait",
    reload: "One moment",
    reconnecting: "Connection lost",
    offline: "You are offline",
    busy: "Please wait",
    outdated: "Please open your link again",
    forbidden: "Please open your link again",
    no_link: "Your link is missing",
    no_sample: "Nothing to preview",
    fault: "Something went wrong",
  };

  /** @type {Record<string, [State, string]>} by the reason of `done` */
  const ENDINGS = {
    visit: ["done", "All done, thank you!"],
    limit: ["done", "All done, thank you!"],
    target: ["done", "All done, thank you!"],
    returned: ["stopped", "You gave your unit back"],
    timeout: ["stopped", "Your time ran out"],
    blocked: ["stopped", "You cannot take part in this study"],
    closed: ["stopped", "This study is closed"],
    full: ["stopped", "This study has all the people it needs"],
    replaced: ["stopped", "You opened this task again elsewhere"],
    ineligible: ["stopped", "Your place in this study could not be confirmed"],
  };

  /** What is left to do at the end, where the study asks for more than to close the tab. */
  const FINISH = {
    goes: "One last step: you are taken there in a moment. Press Finish to go at once.",
    url: "One last step: press Finish to go there.",
    code: "One last step: copy this code and hand it in where you found this study.",
  };

  const STYLE = `
    :host { all: initial; color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --paper: #fff; --line: #dfe3e8;
      --calm: #8a94a3; --wait: #2f6fde; --good: #14804a; --warn: #a05a00; --bad: #c02626; }
    @media (prefers-color-scheme: dark) { :host { --ink: #e8ecf1; --soft: #a3adba; --paper: #171b21; --line: #2c333d;
      --calm: #7b8696; --wait: #75a7ff; --good: #4ccb87; --warn: #f0aa4b; --bad: #ff7b72; } }
    * { box-sizing: border-box; margin: 0; }
    [hidden] { display: none !important; }
    .bar, .curtain { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper); z-index: 2147483000; }
    .bar { position: fixed; inset: auto 0 0; min-height: 3rem; padding: .6rem 1rem; border-top: 1px solid var(--line);
      display: flex; gap: .75rem; align-items: center; }
    .bar .text { flex: 1; overflow-wrap: anywhere; }
    .mark { flex: none; width: .65rem; height: .65rem; border-radius: 50%; background: var(--tone); }
    .meta { color: var(--soft); font-variant-numeric: tabular-nums; white-space: nowrap; }
    .meta.soon { color: var(--warn); font-weight: 600; }
    .curtain { position: fixed; inset: 0; display: grid; place-items: center; padding: 1.5rem; overflow: auto; }
    .panel, .words { max-width: 30rem; text-align: center; display: grid; gap: .75rem; justify-items: center; }
    .panel { gap: 1.25rem; }
    .curtain .mark { width: 3rem; height: 3rem; border-radius: 50%; background: none; border: 3px solid var(--tone); display: grid; place-items: center; }
    .mark svg { width: 1.5rem; fill: none; stroke: var(--tone); stroke-width: 2.5; stroke-linecap: round; stroke-linejoin: round; }
    .mark path { display: none; }
    [data-tone=good] .mark .yes, [data-tone=bad] .mark .no, [data-tone=warn] .mark .no { display: block; }
    .curtain[data-tone=wait] .mark { border-right-color: transparent; animation: turn 1s linear infinite; }
    h1 { font-size: 1.5rem; line-height: 1.25; font-weight: 650; text-wrap: balance; }
    p { color: var(--soft); overflow-wrap: anywhere; white-space: pre-line; }
    .message { color: var(--ink); font-size: 1.05rem; }
    .given { display: flex; align-items: stretch; max-width: 100%; border: 1px solid var(--line); border-radius: .6rem; overflow: hidden; }
    .given code { font: 600 1.2rem/1.3 ui-monospace, monospace; padding: .65rem 1rem; overflow-wrap: anywhere; user-select: all; }
    .given button { font: inherit; font-weight: 600; color: var(--wait); background: none; border: 0; border-left: 1px solid var(--line);
      padding: 0 1rem; min-width: 5.5rem; cursor: pointer; }
    .finish { font-weight: 600; text-decoration: none; color: var(--paper); background: var(--wait); border-radius: .6rem;
      padding: .75rem 2.25rem; }
    .finish:hover { filter: brightness(1.08); }
    :focus-visible { outline: 3px solid var(--wait); outline-offset: 2px; }
    .given :focus-visible { outline-offset: -3px; }
    [data-tone=calm] { --tone: var(--calm); } [data-tone=wait] { --tone: var(--wait); } [data-tone=good] { --tone: var(--good); }
    [data-tone=warn] { --tone: var(--warn); } [data-tone=bad] { --tone: var(--bad); }
    @keyframes turn { to { transform: rotate(1turn); } }
    @media (prefers-reduced-motion: reduce) { .curtain .mark { animation: none !important; } }
  `;

  /** A new element: `make("p", {className: "text"}, child…)`. @param {string} tag @param {Record<string, any>} properties @param {Node[]} children */
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  /** @param {string[]} names @returns {Node} */
  const sign = (...names) => {
    const shapes = { yes: "M5 13l5 5L19 7", no: "M12 6v7M12 18v.01" };
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 24 24");
    for (const name of names) {
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      path.setAttribute("class", name);
      path.setAttribute("d", shapes[/** @type {"yes" | "no"} */ (name)]);
      svg.append(path);
    }
    return svg;
  };

  /** The bar at the foot of the page while there is a unit, the curtain over the page while there is none. */
  const drawing = () => {
    const [text, progress, clock] = ["text", "meta", "meta"].map((className) => make("span", { className }));
    progress.title = "Done in this visit";
    clock.title = "Time left";
    text.setAttribute("role", "status");
    clock.setAttribute("role", "timer");
    const bar = make("div", { className: "bar", hidden: true }, make("span", { className: "mark" }), text, progress, clock);

    const [title, message, note] = [make("h1"), make("p", { className: "message" }), make("p")];
    const words = make("div", { className: "words" }, make("div", { className: "mark" }, sign("yes", "no")), title, message, note);
    const [code, copy] = [make("code"), make("button", { type: "button" })];
    const given = make("div", { className: "given" }, code, copy);
    const finish = /** @type {HTMLAnchorElement} */ (make("a", { className: "finish", textContent: "Finish", rel: "noreferrer" }));
    const curtain = make("div", { className: "curtain", hidden: true }, make("div", { className: "panel" }, words, given, finish));
    words.setAttribute("role", "status");
    copy.onclick = async () => {
      const value = code.textContent || "";
      const copied = await Promise.resolve(navigator.clipboard)
        .then((clipboard) => clipboard.writeText(value))
        .then(
          () => true,
          () => {
            const box = /** @type {HTMLTextAreaElement} */ (make("textarea", { value })); // there is no clipboard where there is no https
            given.append(box);
            box.select();
            const done = document.execCommand("copy");
            box.remove();
            return done;
          },
        );
      copy.textContent = copied ? "Copied" : "Copy";
    };

    const host = make("div", { id: "crowdstack-status" });
    const root = host.attachShadow({ mode: "open" });
    try {
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(STYLE);
      root.adoptedStyleSheets = [sheet];
    } catch {
      root.append(make("style", { textContent: STYLE })); // older browsers
    }
    root.append(bar, curtain);
    document.documentElement.append(host);

    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let later;
    /** @param {boolean} covered */
    const cover = (covered) => {
      curtain.hidden = !covered;
      bar.hidden = covered;
      document.documentElement.style.setProperty("padding-bottom", covered ? "0" : "3.5rem");
      if (document.body) document.body.inert = covered;
    };

    /** @type {Date | null} */
    let deadline = null;
    const tick = () => {
      const left = deadline ? Math.max(0, Math.round((deadline.getTime() - Date.now()) / 1000)) : 0;
      const shown = deadline ? `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}` : "";
      if (clock.textContent !== shown) clock.textContent = shown;
      clock.className = left < 60 ? "meta soon" : "meta";
    };
    setInterval(tick, 500);
    if (document.body) document.body.inert = true; // nothing to answer yet

    /** @param {Status} status */
    return (status) => {
      bar.dataset.tone = curtain.dataset.tone = status.tone;
      text.textContent = status.text;
      title.textContent = status.title;
      title.hidden = !status.title;
      message.textContent = status.completion;
      message.hidden = !status.completion;
      note.textContent = status.text;
      code.textContent = status.code;
      copy.textContent = "Copy";
      given.hidden = !status.code;
      finish.hidden = !status.url;
      if (status.url) finish.href = status.url;
      const { done = 0, limit = null } = status.progress || {};
      progress.textContent = limit !== null ? `${done} of ${limit}` : done ? `${done} done` : "";
      deadline = status.deadline;
      tick();
      clearTimeout(later);
      if (status.final) {
        cover(true);
        if (status.url) finish.focus({ preventScroll: true });
      }
      else if (status.unit) cover(false);
      else if (curtain.hidden) later = setTimeout(cover, CURTAIN_MS, true);
    };
  };

  // --- Signals: how an answer came about. Counts and times, never content. ---

  /** Begins to watch; the result reads what was seen so far. */
  const watch = () => {
    const shown = Date.now();
    const seen = { first_input_ms: /** @type {number | null} */ (null), blurs: 0, away_ms: 0 };
    /** @type {Map<string, number>} */
    const pastes = new Map();
    /** @type {number | null} */
    let leftAt = document.hidden ? shown : null;
    const away = () => {
      if (leftAt === null) seen.blurs += 1;
      if (leftAt === null) leftAt = Date.now();
    };
    const back = () => {
      if (leftAt !== null) seen.away_ms += Date.now() - leftAt;
      leftAt = null;
    };
    const stop = new AbortController();
    /** @param {EventTarget} target @param {string} name @param {(event: Event) => void} act */
    const on = (target, name, act) => target.addEventListener(name, act, { capture: true, signal: stop.signal });
    for (const name of ["input", "keydown", "pointerdown"]) {
      on(document, name, () => {
        if (seen.first_input_ms === null) seen.first_input_ms = Date.now() - shown;
      });
    }
    on(document, "paste", (event) => {
      const field = event.target instanceof HTMLElement ? event.target : document.body;
      const name = (field.getAttribute("name") || field.id || field.tagName.toLowerCase()).slice(0, 64);
      if (pastes.size < 50 || pastes.has(name)) pastes.set(name, (pastes.get(name) || 0) + 1);
    });
    on(window, "blur", away);
    on(window, "focus", back);
    on(document, "visibilitychange", () => (document.hidden ? away() : back()));
    return {
      read: () => ({
        shown_at: new Date(shown).toISOString(),
        submit_ms: Date.now() - shown,
        ...seen,
        away_ms: seen.away_ms + (leftAt === null ? 0 : Date.now() - leftAt),
        pastes: Object.fromEntries(pastes),
      }),
      stop: () => stop.abort(),
    };
  };

  // --- Forms: fields <-> answers ---

  /** Named controls of a form. @param {HTMLFormElement} form @returns {any[]} */
  const controls = (form) => Array.from(form.elements).filter((element) => /** @type {any} */ (element).name);

  /** What a form says now; what is empty is left out. @param {HTMLFormElement} form @param {any} [button] @returns {Answers} */
  const readForm = (form, button) => {
    /** @type {Record<string, any>} */
    const answers = {};
    const all = controls(form);
    for (const field of all) {
      const { name, type, value } = field;
      const several = type === "checkbox" && all.filter((other) => other.name === name).length > 1;
      if (field.disabled || ["submit", "button", "reset", "file", "image", "fieldset", "output"].includes(type)) continue;
      if (several) answers[name] = [...(answers[name] || []), ...(field.checked ? [value] : [])];
      else if (type === "checkbox") answers[name] = field.checked;
      else if (type === "radio") field.checked && (answers[name] = value);
      else if (type === "select-multiple") answers[name] = Array.from(field.selectedOptions, (/** @type {any} */ one) => one.value);
      else if (type === "number" || type === "range") value !== "" && (answers[name] = Number(value));
      else if (value !== "") answers[name] = value;
    }
    if (button && button.name) answers[button.name] = button.value;
    return answers;
  };

  /** Shows answers in a form; the inverse of `readForm`. @param {HTMLFormElement} form @param {Answers} answers */
  const fillForm = (form, answers) => {
    for (const field of controls(form)) {
      const given = answers[field.name];
      const has = (/** @type {string} */ value) => (Array.isArray(given) ? given.includes(value) : given === value);
      if (given === undefined || field.type === "file") continue;
      if (field.type === "submit" || field.type === "button") field.setAttribute("aria-pressed", String(has(field.value)));
      else if (field.type === "radio" || field.type === "checkbox") field.checked = given === true || has(field.value);
      else if (field.type === "select-multiple") for (const one of field.options) one.selected = has(one.value);
      else field.value = String(given);
    }
  };

  /** Puts each error beside its field, or at the end of the form. @param {HTMLFormElement} form @param {FieldError[]} errors */
  const showErrors = (form, errors) => {
    for (const old of form.querySelectorAll(".crowdstack-error")) old.remove();
    for (const field of form.querySelectorAll("[aria-invalid]")) {
      field.removeAttribute("aria-invalid");
      field.removeAttribute("aria-errormessage");
    }
    errors.forEach((error, index) => {
      const name = error.path.split("/")[1] || "";
      const field = controls(form).find((one) => one.name === name);
      const text = field || !name ? error.message : `${name}: ${error.message}`;
      const line = make("p", { className: "crowdstack-error", id: `crowdstack-error-${index}`, textContent: text });
      if (!field) return form.append(line);
      const grouped = field.type === "radio" || field.type === "checkbox" || field.type === "submit";
      (grouped && field.closest("fieldset") ? field.closest("fieldset") : field.closest("label") || field).after(line);
      field.setAttribute("aria-invalid", "true");
      field.setAttribute("aria-errormessage", line.id);
    });
    const first = /** @type {HTMLElement | null} */ (form.querySelector("[aria-invalid]"));
    if (first) first.focus();
  };

  // --- The page's tasks, in three modes ---

  /** @type {(status: Status) => void} */
  let show = () => {};
  /** @type {Task | null} the unit that the page shows */
  let current = null;
  /** @type {{done: number, limit: number | null} | null} */
  let progress = null;

  /** Tells the worker. @param {State} state @param {Partial<Status>} more */
  const say = (state, more = {}) => {
    const [tone, text] = TEXTS[state];
    const deadline = current && current.deadline;
    const [title, unit] = [TITLES[state] || "", current !== null];
    show({ state, tone, text, title, completion: "", code: "", url: "", final: false, unit, progress, deadline, ...more });
  };

  /**
   * A task for the page. `send` and `giveBack` carry its answers away; `succeed` brings the next one.
   * @param {Pick<Task, "mode" | "data" | "answers" | "deadline"> & {id: string, send: (answers: Answers, signals: object) => Promise<Receipt>,
   *   giveBack: () => Promise<void>, succeed: () => Promise<Task | null>}} of
   * @returns {Task & {settled: Promise<void>}}
   */
  const makeTask = ({ mode, data, answers, deadline, id, send, giveBack, succeed }) => {
    const signals = watch();
    /** @type {() => void} */
    let settle = () => {};
    /** @type {Promise<void>} resolved once nothing more can be done with this unit */
    const settled = new Promise((resolve) => (settle = resolve));
    /** @type {Promise<Receipt> | null} */
    let sending = null;

    const close = () => {
      signals.stop();
      browser.remove(`draft.${id}`);
      settle();
    };
    /** @param {any} problem */
    const closedBy = (problem) => ["already_submitted", "nonce_reused", "unknown_assignment"].includes(problem.code);

    const task = {
      mode,
      data,
      answers,
      deadline,
      progress,
      settled,

      /** @param {Answers} given */
      submit(given) {
        if (!sending) {
          sending = send(given, signals.read()).then(
            (receipt) => {
              close();
              return receipt;
            },
            (problem) => {
              if (closedBy(problem)) close();
              else sending = null; // may be put right and sent again
              throw problem;
            },
          );
        }
        return sending;
      },

      async return_() {
        await giveBack();
        close();
      },

      next: () => succeed(),

      /** @param {HTMLFormElement} form @returns {Promise<Receipt>} */
      form: (form) =>
        new Promise((resolve) => {
          form.reset();
          showErrors(form, []);
          const draft = parsed(browser.get(`draft.${id}`));
          fillForm(form, answers || (draft && draft.answers) || {});
          form.inert = false;
          if (mode === "review") {
            for (const field of controls(form)) field.disabled = true;
            return resolve({ receipt: null, late: false });
          }
          form.oninput = () => browser.set(`draft.${id}`, JSON.stringify({ at: Date.now(), answers: readForm(form) }));
          form.onclick = (event) => event.detail < 2 || event.preventDefault(); // a double click is one answer, not two
          form.onsubmit = async (event) => {
            event.preventDefault();
            showErrors(form, []);
            const hadFocus = form.contains(document.activeElement);
            form.inert = true;
            try {
              resolve(await task.submit(readForm(form, event.submitter)));
            } catch (problem) {
              if (closedBy(problem)) return resolve({ receipt: null, late: false });
              form.inert = false;
              showErrors(form, /** @type {any} */ (problem).errors || []);
            }
            if (hadFocus && !form.querySelector("[aria-invalid]")) {
              form.tabIndex = -1;
              form.inert = false;
              form.focus({ preventScroll: true }); // not a button: a held key must not answer the next one
            }
          };
        }),
    };
    return task;
  };

  // Preview: the declared sample, nothing kept.
  /** @returns {Promise<Task>} */
  const previewed = async () => {
    const answer = await fetch("/sample.json").catch(() => null);
    if (!answer || !answer.ok) {
      say("no_sample", { final: true });
      return never();
    }
    const { data } = await answer.json();
    /** @param {Partial<Status>} more @returns {Promise<Task>} */
    const again = async (more = {}) => {
      current = makeTask({
        mode: "preview",
        data,
        answers: null,
        deadline: null,
        id: "preview",
        send: async () => {
          say("preview", { tone: "good", text: "Preview: your answer would have been sent now. Nothing is kept." });
          return { receipt: null, late: false };
        },
        giveBack: async () => say("preview"),
        succeed: () => again({ text: "Preview: the same sample again. Nothing was kept." }),
      });
      say("preview", more);
      return current;
    };
    return again();
  };

  // Review: item and answers from the window around this one, which shows them in a sandboxed frame.
  /** @returns {Promise<Task>} */
  const reviewed = () => {
    /** @type {any[]} */
    const waiting = [];
    /** @type {(() => void)} */
    let arrived = () => {};
    addEventListener("message", (event) => {
      if (event.source !== parent || parent === window) return;
      if (!event.data || event.data.type !== "crowdstack.review") return;
      waiting.push(event.data);
      arrived();
    });
    const readOnly = async () => {
      throw new Problem("review", "answers are shown as they were given");
    };
    /** @returns {Promise<Task>} */
    const next = async () => {
      while (!waiting.length) await new Promise((resolve) => (arrived = () => resolve(undefined)));
      const { data, answers } = waiting.shift();
      current = makeTask({
        mode: "review", data, answers, deadline: null, id: "review", send: readOnly, giveBack: readOnly, succeed: next,
      });
      say("review");
      return current;
    };
    if (parent !== window) parent.postMessage({ type: "crowdstack.ready" }, "*"); // says nothing but that it listens
    else say("no_link", { title: "Nothing to review", text: "The review page shows answers in here.", final: true });
    return next();
  };

  // Work: the worker socket.
  /** @returns {Promise<Task | null>} */
  const working = () => {
    let query = new URLSearchParams(location.search);
    let session = query.has("t") ? null : tab.get("session"); // a link that is opened anew says who comes
    let worker = "";
    let visit = "";
    /** @type {Map<string, Waiter>} this page's submits, by nonce */
    const waiters = new Map();
    /** @type {Ended | null} */
    let ended = null;
    /** @type {[State, Partial<Status>] | null} what became of the last unit: read until the next outcome */
    let outcome = null;
    let leaving = false;
    let wake = () => {};

    /** @param {State} state @param {Partial<Status>} more @returns {never} */
    const end = (state, more = {}) => {
      current = null;
      ended = new Ended(state);
      say(state, { final: true, ...more });
      for (const waiter of waiters.values()) waiter.reject(new Problem("ended", TEXTS[state][1]));
      if (line) line.drop();
      throw ended;
    };

    /** What became of the last unit, then this. @param {State} state */
    const afterwards = (state, text = TEXTS[state][1]) => (outcome ? `${outcome[1].text || TEXTS[outcome[0]][1]} ${text}` : text);

    /** Where the visit is finished: as the server says, and nowhere but by https (threats W10). @param {unknown} url @returns {string} */
    const secure = (url) => {
      try {
        return new URL(String(url)).protocol === "https:" ? String(url) : "";
      } catch {
        return ""; // there is none
      }
    };

    /** @param {Frame} frame @returns {never} */
    const finish = (frame) => {
      const [state, title] = ENDINGS[frame.reason] || ENDINGS.closed;
      const { message = "", code = "", url: given } = frame.completion || {};
      const url = secure(given);
      const way = `${visit} ${url}`;
      // Once: who comes back from there wants to read. And not away from answers that only this tab has.
      const goes = url && tab.get("finished") !== way && (outbox.safe || !outbox.of(worker).length);
      if (goes) {
        setTimeout(() => {
          tab.set("finished", way);
          leaving = true;
          location.assign(url);
        }, FINISH_MS);
      }
      const hint = goes ? FINISH.goes : url ? FINISH.url : code ? FINISH.code : undefined;
      return end(state, { title, text: afterwards(state, hint), completion: String(message), code: String(code), url });
    };

    const pageBundle = () => {
      const meta = document.querySelector('meta[name="crowdstack-bundle"]');
      return (meta && meta.getAttribute("content")) || "";
    };

    /** @returns {Promise<never>} */
    const reload = async () => {
      if (tab.get("reloaded") === pageBundle()) end("outdated"); // it did not help: no loop
      tab.set("reloaded", pageBundle());
      leaving = true;
      say("reload");
      location.reload();
      return never();
    };

    /** Trouble on the way to the server, and what becomes of an answer. @param {State} state */
    const sayTrouble = (state) => {
      const fate = outbox.safe
        ? "Your answer is kept in this browser and will be sent by itself."
        : "Keep this tab open: your answer is not saved yet.";
      say(state, worker && outbox.of(worker).length ? { text: `${TEXTS[state][1]} ${fate}` } : {});
    };
    const sayLost = () => sayTrouble(navigator.onLine ? "reconnecting" : "offline");

    /** All is well: what became of the last unit, or how this one stands. */
    const sayWell = () => {
      const expired = current && current.deadline && current.deadline.getTime() < Date.now();
      if (outcome) say(...outcome);
      else say(!current ? "connecting" : waiters.size ? "sending" : expired ? "expired" : "working");
    };

    /** Sleeps before the next try; the network's return or the worker's look at the page ends it. @param {number} ms */
    const pause = (ms) =>
      new Promise((resolve) => {
        wake = () => resolve(undefined);
        setTimeout(wake, ms);
      });

    /** Opens a socket. `ask` sends a frame and brings the answer to it, one at a time; Lost when the socket is. @returns {Promise<Line>} */
    const dial = () =>
      new Promise((opened, failed) => {
        const socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}/v1/work`);
        /** @type {{resolve: (frame: Frame) => void, reject: (lost: Error) => void} | null} */
        let asked = null;
        /** @type {Promise<unknown>} */
        let turn = Promise.resolve();
        const isOpen = () => socket.readyState === WebSocket.OPEN;

        const drop = () => {
          socket.onopen = socket.onclose = socket.onmessage = null;
          socket.close();
          clearTimeout(opening);
          failed(new Lost());
          if (asked) asked.reject(new Lost());
          if (line === self) again();
        };
        /** @param {Frame} frame @returns {Promise<Frame>} */
        const exchange = (frame) =>
          new Promise((resolve, reject) => {
            const silence = setTimeout(drop, ANSWER_MS);
            asked = {
              resolve: (answer) => (clearTimeout(silence), resolve(answer)),
              reject: (lost) => (clearTimeout(silence), reject(lost)),
            };
            if (isOpen()) socket.send(JSON.stringify(frame));
            else drop();
          });
        /** @param {Frame} frame @returns {Promise<Frame>} */
        const ask = (frame) => {
          const answer = turn.then(() => exchange(frame));
          turn = answer.catch(() => {});
          return answer;
        };
        /** @type {Line} */
        const self = { ask, drop, isOpen };

        const opening = setTimeout(drop, ANSWER_MS);
        socket.onopen = () => {
          clearTimeout(opening);
          opened(self);
        };
        socket.onclose = drop;
        socket.onmessage = ({ data }) => {
          const frame = parsed(data);
          const waiting = asked;
          asked = null;
          if (!frame || typeof frame.type !== "string") drop();
          else if (waiting) waiting.resolve(frame);
          else if (frame.type === "reload") reload().catch(unless(Ended));
        };
      });

    /** Lets faults of one kind pass, as they are answered elsewhere. @param {Function} kind @returns {(fault: unknown) => void} */
    const unless = (kind) => (fault) => {
      if (!(fault instanceof kind)) throw fault;
    };

    /** Introduces us; Ended if there is nothing for us here. @param {Line} to */
    const hello = async (to) => {
      for (;;) {
        const who = session ? { session } : { params: Object.fromEntries(query) };
        const answer = await to.ask({ type: "hello", protocol: PROTOCOL, bundle: pageBundle(), ...who });
        if (answer.type === "welcome") {
          ({ session, worker, visit } = answer);
          progress = answer.progress || null;
          tab.set("session", answer.session);
          tab.remove("reloaded");
          if (query.has("t")) history.replaceState(history.state, "", location.pathname + location.hash); // threats W12
          query = new URLSearchParams();
          return;
        }
        if (answer.type === "done") finish(answer);
        else if (answer.type === "reload") await reload();
        else if (answer.type === "wait") {
          say("wait");
          await pause(answer.retry_s * 1000);
        } else if (answer.type === "busy") {
          sayTrouble("busy");
          await pause(answer.retry_s * 1000);
        } else if (answer.code === "forbidden") {
          tab.remove("session");
          const unsent = worker && outbox.safe && outbox.of(worker).length;
          end("forbidden", unsent ? { text: `${TEXTS.forbidden[1]} Your answer is kept and will be sent then.` } : {});
        } else throw new Lost();
      }
    };

    /** @param {Unsent} entry @returns {Frame} */
    const submitFrame = ({ assignment, nonce, answers, signals }) => ({ type: "submit", assignment, nonce, answers, signals });

    /** Whether the server has answered for good, or may still take it. @param {Frame} answer */
    const isFinal = (answer) =>
      answer.type === "accepted" ||
      answer.type === "refused" ||
      (answer.type === "error" && !["too_fast", "forbidden", "hello_first"].includes(answer.code));

    /** The server has answered for good. @param {Unsent} entry @param {Frame} answer */
    const settle = (entry, answer) => {
      const waiter = waiters.get(entry.nonce); // none: the page that submitted it is gone
      outbox.remove(entry);
      waiters.delete(entry.nonce);
      if (answer.type === "accepted") {
        outcome = [answer.late ? "late" : "saved", waiter || answer.late ? {} : { text: "The answer that was under way is saved." }];
        if (waiter) waiter.resolve({ receipt: answer.receipt, late: answer.late });
      } else if (answer.type === "refused") {
        outcome = ["refused", waiter ? {} : { text: "The answer that was under way did not fit. Please check it and send it again." }];
        if (waiter) waiter.reject(new Problem("refused", TEXTS.refused[1], answer.errors));
        else browser.set(`draft.${entry.assignment}`, JSON.stringify({ at: Date.now(), answers: entry.answers }));
      } else {
        outcome = [answer.code === "already_submitted" ? "answered" : "undelivered", {}];
        if (waiter) waiter.reject(new Problem(answer.code, answer.message));
      }
      say(...outcome);
    };

    /** @type {Promise<unknown>} */
    let flushing = Promise.resolve();

    /** Sends what is unsent until nothing is; Lost when the socket goes. @param {Line} to @returns {Promise<void>} */
    const flush = (to) => {
      const flushed = flushing.then(async () => {
        for (let entry; (entry = outbox.of(worker)[0]); ) {
          const answer = await to.ask(submitFrame(entry));
          if (isFinal(answer)) settle(entry, answer);
          else if (answer.type === "busy" || answer.code === "too_fast") {
            sayTrouble("busy");
            await pause((answer.retry_s || 1) * 1000);
          } else {
            to.drop();
            throw new Lost();
          }
        }
      });
      flushing = flushed.catch(() => {});
      return flushed;
    };

    /** The way around a blocked socket. */
    const post = async () => {
      for (const entry of session && worker ? outbox.of(worker) : []) {
        try {
          const response = await fetch("/v1/submissions", {
            method: "POST",
            headers: { "Content-Type": "application/json", Authorization: `Bearer ${session}` },
            body: JSON.stringify(submitFrame(entry)),
          });
          const answer = await response.json();
          if (isFinal(answer)) settle(entry, answer);
        } catch {
          return; // the server is away altogether
        }
      }
    };

    /** @type {Line | null} welcome, and with nothing unsent when it was new */
    let line = null;
    /** @type {Promise<Line> | null} */
    let joining = null;

    /** A new line, however long that takes. @returns {Promise<Line>} */
    const join = async () => {
      for (let tries = 0; ; tries += 1) {
        /** @type {Line | null} */
        let fresh = null;
        try {
          fresh = await dial();
          await hello(fresh);
          await flush(fresh);
          if (!fresh.isOpen()) throw new Lost();
          line = fresh;
          flush(line).catch(unless(Lost)); // what the page submitted meanwhile
          sayWell();
          return fresh;
        } catch (fault) {
          if (fresh) fresh.drop();
          if (!(fault instanceof Lost)) throw fault;
          sayLost();
          if (tries >= POST_AFTER) await post();
          const most = Math.min(BACKOFF_MS.most, BACKOFF_MS.first * 2 ** tries);
          await pause(most * (0.5 + Math.random() / 2));
        }
      }
    };
    /** @returns {Promise<Line>} */
    const connection = () => {
      if (ended) return Promise.reject(ended);
      joining = joining || join();
      return joining;
    };
    /** The line went: a new one, whether or not the page wants something now. */
    const again = () => {
      line = joining = null;
      if (ended || leaving) return;
      sayLost();
      connection().catch(unless(Ended));
    };

    /** Asks until there is an answer, whatever happens to the line meanwhile. @param {Frame} frame @returns {Promise<Frame>} */
    const request = async (frame) => {
      for (;;) {
        try {
          const answer = await (await connection()).ask(frame);
          if (answer.type !== "busy" && answer.code !== "too_fast") return answer;
          sayTrouble("busy");
          await pause((answer.retry_s || 1) * 1000);
        } catch (fault) {
          unless(Lost)(fault);
        }
      }
    };

    /** @returns {Promise<Task | null>} */
    const next = async () => {
      current = null;
      sayWell();
      try {
        for (;;) {
          const frame = await request({ type: "next" });
          if (frame.type === "assigned") return assigned(frame);
          if (frame.type === "done") finish(frame);
          else if (frame.type === "reload") await reload();
          else if (frame.type === "wait") {
            say("wait", { text: afterwards("wait") });
            await pause(frame.retry_s * 1000);
          } else end("fault", { text: `${TEXTS.fault[1]} (${frame.code || frame.type})` });
        }
      } catch (fault) {
        unless(Ended)(fault);
        return null;
      }
    };

    /** @param {Frame} frame @returns {Task} */
    const assigned = (frame) => {
      const { assignment, data, remaining_s } = frame;
      progress = frame.progress || null;
      const task = makeTask({
        mode: "work",
        data,
        answers: null,
        deadline: new Date(Date.now() + remaining_s * 1000), // the worker's clock may be wrong, the span is not
        id: assignment,
        send: (answers, signals) =>
          new Promise((resolve, reject) => {
            if (ended) return reject(new Problem("ended", TEXTS.stopped[1]));
            const entry = { worker, assignment, nonce: nonce(), answers, signals, at: Date.now() };
            outcome = null;
            waiters.set(entry.nonce, { resolve, reject });
            outbox.put(entry);
            if (!line) return sayLost(); // the next line begins with it
            say("sending", outbox.safe ? {} : { text: `${TEXTS.sending[1]} Keep this tab open.` });
            flush(line).catch(unless(Lost));
          }),
        giveBack: async () => {
          const answer = await request({ type: "return", assignment });
          if (answer.type === "error" && answer.code !== "unknown_assignment") throw new Problem(answer.code, answer.message);
          outcome = ["returned", {}];
          say(...outcome);
        },
        succeed: next,
      });
      current = task;
      sayWell();
      outcome = null;
      const expiry = setTimeout(() => line && sayWell(), Math.min(remaining_s * 1000 + 1, 2 ** 31 - 1));
      task.settled.then(() => clearTimeout(expiry));
      return task;
    };

    addEventListener("online", () => wake());
    addEventListener("offline", () => ended || sayLost());
    document.addEventListener("visibilitychange", () => document.hidden || wake());
    addEventListener("beforeunload", (event) => {
      if (!leaving && waiters.size) event.preventDefault(); // an answer is under way: the browser asks
    });

    if (session || query.has("t")) return next();
    say("no_link", { final: true });
    return Promise.resolve(null);
  };

  // --- What pages see ---

  /** @type {Promise<Task> | null} */
  let connected = null;

  /** @type {import("./client").Crowdstack} */
  const crowdstack = {
    connect({ onStatus } = {}) {
      if (connected) return connected;
      show = onStatus || drawing();
      addEventListener("submit", (event) => event.preventDefault()); // no form of a task page goes elsewhere
      sweep();
      const query = new URLSearchParams(location.search);
      const start = query.has("preview") ? previewed : query.has("review") ? reviewed : working;
      connected = start().then((task) => task || never());
      return connected;
    },

    async run(show_, options) {
      try {
        for (let task = /** @type {Task | null} */ (await crowdstack.connect(options)); task; task = await task.next()) {
          await show_(task);
          if (task.mode !== "review") await /** @type {any} */ (task).settled;
        }
      } catch (fault) {
        current = null;
        say("fault", { final: true });
        throw fault;
      }
    },

    Problem,
  };

  Object.defineProperty(window, "crowdstack", { value: Object.freeze(crowdstack), enumerable: true });
})();
