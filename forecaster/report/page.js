// Fills the charts of the report with the packed sessions of the ticker that is picked; after charts.js.
(async () => {
  const MISSING = -(2 ** 31), DAY = 86_400_000, MOST_ROWS = 300;
  const packed = held("packed");
  let shown = packed;  // of the step that is chosen
  const { figures, model } = await draw(held("figures"));

  // ---- one ticker

  /** The columns of packing.pack, by name. */
  async function unpack({ rows, units, text }) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const inflated = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const planes = new Uint8Array(await new Response(inflated).arrayBuffer());
    return Object.fromEntries(shown.columns.map((name, column) => {
      const values = new Float64Array(rows);
      for (let row = 0, from = 4 * rows * column, whole = 0; row < rows; row++) {
        const zigzag = planes[from + row] | planes[from + rows + row] << 8
          | planes[from + 2 * rows + row] << 16 | planes[from + 3 * rows + row] << 24;
        whole = (whole + ((zigzag >>> 1) ^ -(zigzag & 1))) | 0;
        values[row] = whole === MISSING ? NaN : whole * units[column];
      }
      return [name, values];
    }));
  }

  /** What the charts draw: prices, and percent of log return. */
  function drawn(its) {
    let sum = 0;
    const close = its.level.map((level, row) => {
      const value = Math.exp(level + sum);
      sum += its.log_return[row] || 0;
      return value;
    });
    const price = (log) => close.map((value, row) => value * Math.exp(log(row)));
    const percent = (log) => close.map((_, row) => 100 * log(row));
    const columns = {
      date: its.date.map((day) => day * DAY),
      median: price((row) => its.median[row]),
      actual: price((row) => its.log_return[row]),
      percent: percent((row) => its.log_return[row]),
      size: percent((row) => Math.abs(its.log_return[row])),
      realised: percent((row) => its.realised[row]),
    };
    for (const band of [50, 80, 95]) {
      const [below, skew] = [its[`below_${band}`], its[`skew_${band}`]];
      columns[`low_${band}`] = price((row) => its.median[row] - below[row]);
      columns[`high_${band}`] = price((row) => its.median[row] + below[row] + skew[row]);
    }
    for (const [risk, least] of [[95, 1], [99, 2]]) {
      columns[`risk_${risk}`] = percent((row) => its.median[row] - its[`risk_${risk}`][row]);
      columns[`breach_${risk}`] = percent((row) => its.breach[row] === least ? its.log_return[row] : NaN);
    }
    if (its.reaction) {
      columns.reaction = columns.actual.map((close, row) => its.reaction[row] ? close : NaN);
      columns.earnings = [...its.reaction].map((reacts) => reacts ? ", earnings" : "");
    }
    shown.models.forEach((_, i) => {
      columns[`volatility_${i}`] = percent((row) => its[`volatility_${i}`][row]);
    });
    return columns;
  }

  const span = model("span"), sessions = model("sessions");
  const day = (time) => new Date(time).toISOString().slice(0, 10);

  function show(start, end) {
    if (start < end) span.setv({ start, end });
  }

  function showLast(count) {
    const dates = sessions.data.date, last = dates.length - 1;
    show(dates[Math.max(0, last - Math.ceil(count / (shown.step ?? 1)))] - DAY, dates[last] + DAY);
  }

  async function pick(ticker) {
    const its = shown.tickers[ticker];
    const columns = drawn(await unpack(its)), last = its.rows - 1;
    at("ticker").value = ticker;
    for (const name of document.querySelectorAll("[data-ticker]")) name.textContent = ticker;
    at("picked").textContent = its.note;
    sessions.data = columns;
    const [first, end] = [columns.date[0] - DAY, columns.date[last] + DAY];
    span.setv({ bounds: [first, end], reset_start: first, reset_end: end });
    for (const input of [at("from"), at("to")]) [input.min, input.max] = [day(first + DAY), day(end - DAY)];
    showLast(matchMedia("(max-width: 40rem)").matches ? 63 : 125);  // so that bands can be told apart
    tell();
  }

  /** The dates in view in the form and, where it is open, in the table. */
  function tell() {
    const its = sessions.data;
    const rows = [...its.date.keys()].filter((row) => its.date[row] >= span.start && its.date[row] <= span.end);
    if (rows.length) [at("from").value, at("to").value] = [rows[0], rows.at(-1)].map((row) => day(its.date[row]));
    if (!at("in-view").open) return;
    const price = (value) => Number.isNaN(value) ? "–" : `${Number(value.toPrecision(6))}`;
    const places = (value) => Math.min(20, Math.max(2, value ? 1 - Math.floor(Math.log10(Math.abs(value))) : 2));
    const percent = (value) => Number.isNaN(value) ? "–" : `${value.toFixed(places(value))}%`;
    const columns = [
      ["Session", (row) => day(its.date[row])], ["Actual close", (row) => price(its.actual[row])],
      ["Median forecast", (row) => price(its.median[row])],
      ...[50, 80, 95].map((band) => [`${band}% interval`,
        (row) => `${price(its[`low_${band}`][row])} to ${price(its[`high_${band}`][row])}`]),
      ["Log return", (row) => percent(its.percent[row])],
      ...its.reaction ? [["Earnings", (row) => its.earnings[row] ? "reaction" : "–"]] : [],
      ...shown.models.map((name, i) => [`Volatility, ${name}`, (row) => percent(its[`volatility_${i}`][row])]),
      ["Realised", (row) => percent(its.realised[row])],
      ["95% value at risk", (row) => percent(its.risk_95[row])],
      ["99% value at risk", (row) => percent(its.risk_99[row])],
    ];
    const listed = rows.slice(-MOST_ROWS);
    const table = at("in-view").querySelector("table");
    table.replaceChildren();
    const caption = table.createCaption().appendChild(document.createElement("span"));
    caption.textContent = `${at("ticker").value}: `
      + (rows.length > listed.length ? `the last ${listed.length} of ${rows.length} sessions in view`
        : `${listed.length} sessions in view`);
    const cell = (line, kind, scope, text) => {
      const made = line.appendChild(document.createElement(kind));
      if (scope) made.scope = scope;
      made.textContent = text;
    };
    const head = table.createTHead().insertRow();
    for (const [title] of columns) cell(head, "th", "col", title);
    const body = table.createTBody();
    for (const row of listed) {
      const line = body.insertRow();
      columns.forEach(([, text], i) => cell(line, i ? "td" : "th", i ? "" : "row", text(row)));
    }
  }

  for (const ticker of Object.keys(packed.tickers)) {
    at("tickers-known").appendChild(document.createElement("option")).value = ticker;
  }
  at("picker").addEventListener("submit", (event) => event.preventDefault());
  at("ticker").addEventListener("focus", (event) => event.target.select());
  at("ticker").addEventListener("change", (event) => {
    const typed = event.target.value.trim();
    const known = [typed, typed.toUpperCase()].find((name) => Object.hasOwn(shown.tickers, name));
    if (known !== undefined) pick(known);
    else at("picked").textContent = `No ticker ${typed} is in this backtest; the charts are as they were.`;
  });
  for (const name of ["from", "to"]) {
    at(name).addEventListener("change", () => {
      show(at("from").valueAsNumber - DAY / 2, at("to").valueAsNumber + DAY / 2);
    });
  }
  for (const button of document.querySelectorAll("[data-sessions]")) {
    button.addEventListener("click", () => showLast(Number(button.dataset.sessions)));
  }
  let waiting;
  for (const property of [span.properties.start, span.properties.end]) {
    property.change.connect(() => {
      clearTimeout(waiting);
      waiting = setTimeout(tell, 200);
    });
  }
  at("in-view").addEventListener("toggle", tell);
  await pick(Object.keys(packed.tickers)[0]);

  // ---- how many sessions ahead

  async function choose(step) {
    shown = packed.further[step] ?? packed;
    for (const part of document.querySelectorAll("[data-step]")) part.hidden = part.dataset.step !== step;
    const ticker = at("ticker").value;
    await pick(Object.hasOwn(shown.tickers, ticker) ? ticker : Object.keys(shown.tickers)[0]);
  }

  if (at("step")) {
    at("step").addEventListener("change", (event) => choose(event.target.value));
    await choose(at("step").value);
  }

  follow(figures, model);
  document.documentElement.dataset.ready = "";
})();
