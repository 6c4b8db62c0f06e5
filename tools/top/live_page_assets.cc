#include "tools/top/live_page_assets.h"

namespace tactus::top {

const char kLiveStyle[] = R"css(
#verdict{font-size:1.05rem;padding:10px 16px;border-left:4px solid var(--a);background:var(--card);border-radius:0 8px 8px 0;margin:4px 0 18px}
#verdict.lost{border-color:var(--bad,#b3261e)}
.group h2{font-size:.82rem;text-transform:uppercase;letter-spacing:.06em;color:var(--dim);margin:18px 0 8px;font-weight:600}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(210px,1fr));gap:12px}
.tile{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:10px 14px 8px;min-height:96px;position:relative}
.tile.wide{grid-column:span 2}
.tile h3{font-size:.82rem;margin:0;color:var(--dim);font-weight:500}
.tile b{display:block;font-size:1.45rem;line-height:1.35;font-variant-numeric:tabular-nums;font-weight:600}
.tile svg{display:block;width:100%;height:34px;overflow:visible;border-radius:0}
.tile path{fill:none;stroke:var(--a);stroke-width:1.6;vector-effect:non-scaling-stroke}
.tile .none{color:var(--dim);font-size:.9rem}
.bars{margin:4px 0 0;display:grid;grid-template-columns:max-content 1fr max-content;gap:3px 8px;font-size:.8rem;align-items:center;font-variant-numeric:tabular-nums}
.bars i{height:9px;background:var(--line);border-radius:3px;overflow:hidden}.bars i u{display:block;height:100%;background:var(--a)}
table.actors{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.88rem}
table.actors th{font-weight:500;color:var(--dim);text-align:right;padding:4px 10px;border-bottom:1px solid var(--line)}
table.actors td{text-align:right;padding:4px 10px;border-bottom:1px solid var(--line)}
table.actors th:first-child,table.actors td:first-child{text-align:left}
@media(max-width:520px){.tile.wide{grid-column:span 1}}
)css";

const char kLiveBody[] = R"html(<p id="verdict" role="status">Waiting for the first answer.</p><div id="panels"></div>
<noscript>This page needs JavaScript; <code>tactus top</code> shows the same in a terminal.</noscript>)html";

const char kLiveScript[] = R"js(
const panels = document.getElementById('panels'), verdict = document.getElementById('verdict');
const make = (tag, name, text) => { const e = document.createElement(tag); if (name) e.className = name; if (text !== undefined) e.textContent = text; return e; };
function line(trend) {
  const known = trend.filter(v => v !== null);
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', '0 0 100 34'); svg.setAttribute('preserveAspectRatio', 'none'); svg.setAttribute('aria-hidden', 'true');
  if (known.length < 2) return svg;
  const low = Math.min(...known), high = Math.max(...known);
  let d = '', pen = false;
  trend.forEach((v, i) => {
    if (v === null) { pen = false; return; }
    const x = 100 * i / (trend.length - 1), y = high > low ? 31 - 28 * (v - low) / (high - low) : 17;
    d += (pen ? 'L' : 'M') + x.toFixed(2) + ' ' + y.toFixed(2); pen = true;
  });
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path'); path.setAttribute('d', d); svg.append(path);
  return svg;
}
function bars(values) {
  const box = make('div', 'bars'), entries = Object.entries(values).filter(([, v]) => v.value);
  const most = Math.max(1e-12, ...entries.map(([, v]) => v.value));
  for (const [label, v] of entries.sort((a, b) => b[1].value - a[1].value)) {
    const track = make('i'), fill = make('u'); fill.style.width = (100 * v.value / most) + '%'; track.append(fill);
    box.append(make('span', '', label), track, make('span', '', v.text));
  }
  return entries.length ? box : make('span', 'none', 'none');
}
function tile(p) {
  const t = make('section', p.by ? 'tile wide' : 'tile'); t.dataset.panel = p.id; t.title = p.query;
  t.append(make('h3', '', p.title));
  const values = Object.values(p.values);
  if (!values.length) t.append(make('span', 'none', 'no data'));
  else if (p.by) t.append(bars(p.values));
  else { t.append(make('b', '', values[0].text), line(p.trend)); }
  return t;
}
function actorTable(list) {
  const names = [...new Set(list.filter(p => p.id === 'actor_tokens').flatMap(p => Object.keys(p.values)))].sort();
  if (!names.length) return make('span', 'none', 'none');
  const table = make('table', 'actors'), head = make('tr'); head.append(make('th', '', 'actor'));
  for (const p of list) head.append(make('th', '', p.title));
  table.append(head);
  for (const name of names) {
    const row = make('tr'); row.append(make('td', '', name));
    for (const p of list) row.append(make('td', '', p.values[name] ? p.values[name].text : '-'));
    table.append(row);
  }
  return table;
}
function show(data) {
  document.querySelector('h1').textContent = data.title;
  verdict.textContent = data.verdict; verdict.classList.remove('lost');
  document.getElementById('when').textContent = data.time_s ? new Date(1000 * data.time_s).toLocaleTimeString() : '';
  const groups = new Map();
  for (const p of data.panels) { if (!groups.has(p.group)) groups.set(p.group, []); groups.get(p.group).push(p); }
  panels.replaceChildren(...[...groups].map(([name, list]) => {
    const group = make('div', 'group'); group.append(make('h2', '', name));
    if (name === 'actors') group.append(actorTable(list));
    else { const tiles = make('div', 'tiles'); tiles.append(...list.map(tile)); group.append(tiles); }
    return group;
  }));
}
async function follow() {
  try { show(await (await fetch('frames.json', {cache: 'no-store'})).json()); }
  catch (e) { verdict.textContent = 'tactus top no longer answers: is it still running?'; verdict.classList.add('lost'); }
  setTimeout(follow, 2000);
}
follow();
)js";

}  // namespace tactus::top
