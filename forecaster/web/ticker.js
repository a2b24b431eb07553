// Fills the charts of a ticker's page with its numbers; after charts.js of the report.
(async () => {
  const { figures, model } = await draw(held("figures"));
  for (const [name, columns] of Object.entries(held("numbers"))) {
    model(name).data = Object.fromEntries(Object.entries(columns).map(
      ([column, values]) => [column, values.map((value) => value ?? NaN)]));
  }
  follow(figures, model);
  document.documentElement.dataset.ready = "";
})();
