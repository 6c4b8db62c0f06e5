// Follows frames.json: a tile for each panel, which stays where it is and is filled anew, and a table of the actors.
{
const {add, line, bars} = Chart;
const INTERVAL_MS = 2000;
const panels = document.getElementById('panels'), verdict = document.getElementById('verdict');
const groups = new Map(), tiles = new Map();

const groupBox = (name, css) => {
  if (!groups.has(name)) {
    const group = add(panels, 'div', {class: 'group'});
    add(group, 'h2', {}, name);
    groups.set(name, add(group, 'div', {class: css}));
  }
  return groups.get(name);
};

const makeTile = panel => {
  const tile = add(groupBox(panel.group, 'tiles'), 'section', {class: panel.by ? 'tile wide' : 'tile'});
  tile.dataset.panel = panel.id;
  tile.title = panel.query;
  add(tile, 'h3', {}, panel.title);
  if (panel.by) return {tile, parts: add(tile, 'div')};
  const value = add(tile, 'b'), absent = add(tile, 'small', {class: 'absent'});
  const figure = add(tile, 'figure', {hidden: ''});
  add(add(figure, 'figcaption', {hidden: ''}), 'b', {}, panel.title);
  return {tile, value, absent, figure};
};

const fillTile = (panel, times) => {
  if (!tiles.has(panel.id)) tiles.set(panel.id, makeTile(panel));
  const {parts, value, absent, figure} = tiles.get(panel.id);
  if (parts) {
    const shown = Object.entries(panel.values).filter(([, v]) => v.value).map(([label, v]) => ({label, ...v}));
    const full = panel.unit === 'ratio' ? 1 : Math.max(...shown.map(v => v.value));
    parts.replaceChildren();
    if (shown.length) bars(parts, shown, full);
    else add(parts, 'small', {class: 'absent'}, panel.absent || 'all of it 0');
    return;
  }
  value.textContent = Object.values(panel.values)[0]?.text ?? '–';
  absent.textContent = panel.absent;
  figure.hidden = !panel.trend.some(v => v !== null);
  if (figure.hidden) return;
  const series = [{label: '', y: panel.trend, absent: ''}];
  line(figure, {axis: 'time', x: times, unit: panel.unit, compact: true, series});
};

const fillActors = list => {
  const box = groupBox('actors', 'scroll');
  const names = [...new Set(list.filter(p => p.id === 'actor_tokens').flatMap(p => Object.keys(p.values)))].sort();
  box.replaceChildren();
  if (!names.length) { add(box, 'small', {class: 'absent'}, 'no actor answers'); return; }
  const table = add(box, 'table', {class: 'actors'}), head = add(table, 'tr');
  for (const title of ['actor', ...list.map(p => p.title)]) add(head, 'th', {scope: 'col'}, title);
  for (const name of names) {
    const row = add(table, 'tr');
    for (const text of [name, ...list.map(p => p.values[name]?.text ?? '–')]) add(row, 'td', {}, text);
  }
};

const show = data => {
  document.querySelector('h1').textContent = data.title;
  if (verdict.textContent !== data.verdict) verdict.textContent = data.verdict;
  verdict.classList.remove('lost');
  document.getElementById('when').textContent = data.time_s ? new Date(1000 * data.time_s).toLocaleTimeString() : '';
  for (const panel of data.panels) if (panel.group !== 'actors') fillTile(panel, data.times);
  fillActors(data.panels.filter(p => p.group === 'actors'));
};

const follow = async () => {
  try {
    show(await (await fetch('frames.json', {cache: 'no-store'})).json());
  } catch {
    verdict.textContent = 'tactus top no longer answers: is it still running?';
    verdict.classList.add('lost');
  }
  setTimeout(follow, INTERVAL_MS);
};
follow();
}
