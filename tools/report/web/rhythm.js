// The answers of a page about the rhythm: lines over their words, the head map and the images, and a token's numbers by
// pointer and by keys. Without it the page still has the tokens and their colours.
{
const {add, number, nice, trace, area, pickable} = Chart;
const root = document.querySelector('.rhythm');
const tip = root?.querySelector('.tip');
const MAGMA = ['000004', '3b0f70', '8c2981', 'de4968', 'fe9f6d', 'fcfdbf'];
const VIRIDIS = ['440154', '414487', '2a788e', '22a884', '7ad151', 'fde725'];
const SIDE = 46;  // left of the strip's axis

// A colour of the ramp as [r, g, b], x in 0 .. 1.
const mix = (ramp, x) => {
  const at = Math.min(1, Math.max(0, x)) * (ramp.length - 1), i = Math.min(ramp.length - 2, Math.floor(at));
  const part = (stop, c) => parseInt(ramp[stop].slice(2 * c, 2 * c + 2), 16);
  return [0, 1, 2].map(c => Math.round(part(i, c) + (part(i + 1, c) - part(i, c)) * (at - i)));
};
const MAGMA_256 = Array.from({length: 256}, (_, v) => mix(MAGMA, v / 255));
const visible = text => {
  const marked = text.replace(/\n/g, '↵').replace(/\t/g, '⇥');
  return marked.replace(/^ +| +$/g, spaces => '␣'.repeat(spaces.length)) || '∅';
};
const answers = [...document.querySelectorAll('.rhythm .answer')].map((element, index) => {
  const data = JSON.parse(element.querySelector('script').textContent);
  const tokens = element.querySelector('.tokens'), spans = [...tokens.querySelectorAll('span')];
  spans.forEach((span, i) => { span.setAttribute('role', 'option'); span.index = i; });
  if (spans.length) spans[0].tabIndex = 0;
  const top = list => Math.max(1e-12, ...list.filter(v => v !== null));
  // Heights in 0 .. 1, or null for a gap; and what 1 stands for.
  const curve = (list, max, bend) =>
    list && {max, share: i => list[i] === null ? null : bend(Math.max(0, list[i]) / max)};
  const curves = {waad: data.waad && curve(data.waad, Math.max(data.window, top(data.waad)), x => x),
                  fai: data.fai && curve(data.fai, top(data.fai), Math.sqrt)};
  return {index, element, data, tokens, spans, n: spans.length, at: 0, width: 0, credit: data.credits[0]?.[1],
          pictures: [], ...curves, lined: spans.length > 0 && !!(curves.waad || curves.fai),
          text: i => visible(spans[i].textContent)};
});

// What probed tokens were worth as bars up and down from `middle`.
const drawWorth = (a, svg, worth, middle) => {
  const most = Math.max(1e-12, ...worth.map(v => Math.abs(v ?? 0))), wide = Math.max(2, a.stripX(1) - a.stripX(0) - 1);
  add(svg, 'path', {class: 'base', d: `M${SIDE} ${middle}H${a.stripX(a.n - 1)}`});
  worth.forEach((v, i) => {
    if (v === null) return;
    const height = Math.max(1, 22 * Math.abs(v) / most), y = v > 0 ? middle - height : middle;
    add(svg, 'rect', {class: 'worth', x: a.stripX(i) - wide / 2, y, width: wide, height});
  });
};

// The flow's largest steps as arcs over `base`; the prompt stands left of the first token.
const drawArcs = (a, svg, arcs, base) => {
  const most = Math.max(...arcs.map(arc => arc[2])), place = i => i < 0 ? SIDE : a.stripX(i);
  const reach = place(a.n - 1) - SIDE;
  add(svg, 'path', {class: 'base', d: `M${SIDE} ${base}H${a.stripX(a.n - 1)}`});
  for (const [from, to, flow] of arcs) {
    const x = place(from), end = place(to), top = base - 14 - 72 * Math.sqrt((end - x) / Math.max(1, reach));
    const d = `M${x.toFixed(1)} ${base}Q${((x + end) / 2).toFixed(1)} ${top.toFixed(1)} ${end.toFixed(1)} ${base}`;
    const arc = add(svg, 'path', {class: 'arc', d, style: `stroke-width:${(.5 + 3 * flow / most).toFixed(1)}`});
    const name = i => i < 0 ? 'the prompt' : `token ${i} “${a.text(i)}”`;
    add(arc, 'title', {}, `${name(from)} → ${name(to)}: ${number(100 * flow, 2)} % of the flow`);
  }
};

// ---- The strip: the whole answer on one axis.
const drawStrip = a => {
  const box = a.element.querySelector('.strip');
  box.replaceChildren();
  if (!a.lined) return;
  const width = Math.max(240, a.width), rows = ['waad', 'fai'].filter(name => a[name]);
  const arcs = a.data.arcs?.length ? a.data.arcs : null, worth = a.data.advantage;
  const lines = rows.length * 52 + (worth ? 52 : 0) + (arcs ? 52 : 0);
  const height = lines + 28;
  const svg = add(box, 'svg', {width, height, viewBox: `0 0 ${width} ${height}`, role: 'img'});
  svg.setAttribute('aria-label', `${rows.join(' and ').toUpperCase()} over the ${a.n} tokens`);
  const note = (x, y, text, more) => add(svg, 'text', {x, y, 'text-anchor': 'end', ...more}, text);
  a.stripX = i => SIDE + (i + .5) / a.n * (width - SIDE - 4);
  rows.forEach((name, row) => {
    const {share, max} = a[name], base = row * 52 + 50;
    const points = a.spans.map((_, i) => share(i) === null ? null : [a.stripX(i), base - 40 * share(i)]);
    add(svg, 'path', {class: 'base', d: `M${SIDE} ${base}H${width - 4}M${SIDE} ${base - 40}H${width - 4}`});
    note(SIDE - 6, base - 16, name.toUpperCase(), {style: `fill:var(--${name});font-weight:600`});
    note(SIDE - 6, base - 35, number(max, 2));
    note(SIDE - 6, base + 3, 0);
    if (name === 'fai') add(svg, 'path', {class: 'area', d: area(points, () => base)});
    add(svg, 'path', {class: name, d: trace(points)});
  });
  if (worth) {
    drawWorth(a, svg, worth, rows.length * 52 + 28);
    note(SIDE - 6, rows.length * 52 + 32, 'A', {style: 'fill:var(--worth);font-weight:600'});
  }
  if (arcs) drawArcs(a, svg, arcs, lines - 2);
  if (arcs) note(SIDE - 6, lines - 18, 'FLOW', {style: 'fill:var(--flow);font-weight:600'});
  const foot = lines + 6, step = (width - SIDE - 4) / a.n;
  (a.credit || []).forEach((g, i) => {
    if (g === null || Math.abs(g - 1) < .05) return;
    add(svg, 'rect', {class: g > 1 ? 'hot' : 'cold', x: a.stripX(i) - step / 2, y: foot, width: Math.max(1, step - .4),
                      height: 6, opacity: Math.min(1, .35 + Math.abs(g - 1))});
  });
  note(SIDE - 6, foot + 7, 'γ');
  const tick = Math.max(1, nice(0, a.n, Math.floor(width / 56)).step);
  for (let i = 0; i < a.n; i += tick) note(a.stripX(i), foot + 19, i, {'text-anchor': 'middle'});
  a.marks = add(svg, 'g');
  a.stripBase = lines;
};

// ---- The score: the same lines above the words, as notes above a text.
const drawScore = a => {
  const svg = a.tokens.querySelector('.score');
  svg.replaceChildren();
  a.tokens.classList.toggle('scored', a.lined);
  const box = a.tokens.getBoundingClientRect();
  a.spots = a.spans.map(span => {
    let best = null;
    for (const r of span.getClientRects()) if (!best || r.width > best.width) best = r;
    return best ? {x: best.left - box.left + best.width / 2, y: best.top - box.top, height: best.height} : null;
  });
  let y = null;
  a.lines = [];
  a.spots.forEach((s, i) => {
    if (!s) return;
    if (y === null || Math.abs(s.y - y) > 8) { a.lines.push([]); y = s.y; }
    s.line = a.lines.length - 1;
    a.lines[s.line].push(i);
  });
  if (a.lined) {
    // Points of every line of text, a gap after each line.
    const floor = i => a.spots[i].y - 5, line = [...a.lines.keys()].flatMap(k => [...a.lines[k], null]);
    const point = (i, share) => share === null ? null : [a.spots[i].x, floor(i) - 27 * share];
    const through = share => line.map(i => i === null ? null : point(i, share(i)));
    const bases = a.lines.map(([i]) => `M0 ${floor(i).toFixed(1)}H${box.width.toFixed(0)}`);
    add(svg, 'path', {class: 'base', d: bases.join('')});
    if (a.fai) add(svg, 'path', {class: 'area', d: area(through(a.fai.share), k => floor(line[k]))});
    if (a.fai) add(svg, 'path', {class: 'fai', d: trace(through(a.fai.share))});
    if (a.waad) add(svg, 'path', {class: 'waad', d: trace(through(a.waad.share))});
  }
  a.links = add(svg, 'g');
};

// ---- Heads and images.
// A grid whose cells the pointer or the arrow keys pick; `tell(i)` says what a cell is.
const pickableGrid = (svg, out, columns, count, left, cell, tell) => {
  const pick = add(svg, 'rect', {class: 'pick', width: cell, height: cell, rx: 3, visibility: 'hidden'});
  pickable(svg, {
    count: () => count, start: () => 0,
    find: e => {
      const r = svg.getBoundingClientRect(), x = Math.floor((e.clientX - r.left - left) / cell);
      return x < 0 || x >= columns ? -1 : Math.floor((e.clientY - r.top) / cell) * columns + x;
    },
    moves: at => ({ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: count - 1,
                   ArrowUp: at - columns, ArrowDown: at + columns}),
    show: i => {
      pick.setAttribute('x', left + i % columns * cell);
      pick.setAttribute('y', Math.floor(i / columns) * cell);
      pick.setAttribute('visibility', 'visible');
      out.textContent = tell(i);
    },
    hide: () => { pick.setAttribute('visibility', 'hidden'); out.textContent = ''; },
  });
};

const drawHeads = a => {
  const {layers, span, local, global} = a.data, known = (span || []).filter(v => v !== null);
  if (!known.length) return;
  const box = add(a.element.querySelector('.maps'), 'div', {class: 'heads'});
  add(box, 'h4', {}, 'Head map');
  add(box, 'small', {}, 'How far back each head looks on average. L: local, G: global.');
  const columns = span.length / layers.length, cell = Math.max(15, Math.min(30, Math.floor(270 / columns))), left = 56;
  const width = left + 2 + columns * cell, height = layers.length * cell + 18;
  const svg = add(add(box, 'div', {class: 'scroller'}), 'svg',
                  {width, height, viewBox: `0 0 ${width} ${height}`, role: 'img', tabindex: 0});
  svg.setAttribute('aria-label', `Head map: ${layers.length} layers of ${columns} heads, ${local.length} local, ` +
                                 `${global.length} global. Arrow keys read out a head.`);
  const low = Math.log1p(Math.min(...known)), high = Math.log1p(Math.max(...known));
  span.forEach((d, i) => {
    const x = left + i % columns * cell, y = Math.floor(i / columns) * cell;
    const rgb = d === null ? [128, 128, 128] : mix(VIRIDIS, high > low ? (Math.log1p(d) - low) / (high - low) : .5);
    const light = rgb.reduce((sum, c, k) => sum + (c / 255) ** 2.2 * [.2126, .7152, .0722][k], 0);
    add(svg, 'rect', {class: 'cell', x, y, width: cell, height: cell, rx: 3, fill: `rgb(${rgb})`});
    const kind = (local.includes(i) ? 'L' : '') + (global.includes(i) ? 'G' : '');
    const size = cell * (kind.length > 1 ? .42 : .5);
    const style = `fill:${light > .18 ? '#000' : '#fff'};font-size:${size.toFixed(1)}px`;
    if (!kind) return;
    add(svg, 'text', {class: 'mark', x: x + cell / 2, y: y + cell * .66, 'text-anchor': 'middle', style}, kind);
  });
  const note = (x, y, anchor, text) => add(svg, 'text', {x, y, 'text-anchor': anchor}, text);
  layers.forEach((layer, row) => note(left - 6, row * cell + cell / 2 + 4, 'end', `layer ${layer}`));
  for (let h = 0; h < columns; h += Math.ceil(26 / cell)) note(left + (h + .5) * cell, height - 4, 'middle', h);
  const ramp = add(box, 'div', {class: 'ramp'});
  add(ramp, 'span', {}, number(Math.min(...known), 3));
  add(ramp, 'b', {style: `background:linear-gradient(90deg,${VIRIDIS.map(c => '#' + c)})`});
  add(ramp, 'span', {}, `${number(Math.max(...known), 3)} tokens (log scale)`);
  pickableGrid(svg, add(box, 'output', {'aria-live': 'polite'}), columns, span.length, left, cell, i =>
    `layer ${layers[Math.floor(i / columns)]}, head ${i % columns}: ${number(span[i], 4)} tokens back` +
    (local.includes(i) ? ', local' : '') + (global.includes(i) ? ', global' : ''));
};

const drawImage = (a, image) => {
  const box = add(a.element.querySelector('.maps'), 'div', {class: 'picture'});
  add(box, 'h4', {}, image.name);
  const {width, height, rows, keys, prompt} = image, zoom = 288 / Math.max(width, height);
  const first = keys[0] < prompt ? 'the prompt’s start' : `token ${keys[0] - prompt}`;
  add(box, 'small', {}, `Down: tokens 0 to ${rows - 1}. Across: what they look at, from ${first}.`);
  const frame = add(box, 'div', {class: 'frame'});
  const canvas = add(frame, 'canvas', {width, height, role: 'img'});
  canvas.setAttribute('aria-label', `${image.name}: attention as an image, one row per token`);
  canvas.setAttribute('style', `width:${Math.round(width * zoom)}px;aspect-ratio:${width}/${height}`);
  const pixels = atob(image.pixels), picture = new ImageData(width, height);
  for (let i = 0; i < pixels.length; ++i) picture.data.set([...MAGMA_256[pixels.charCodeAt(i)], 255], 4 * i);
  canvas.getContext('2d').putImageData(picture, 0, 0);
  canvas.dataset.drawn = pixels.length;
  if (keys[0] < prompt) add(frame, 'i', {class: 'prompt-end', style: `left:${(prompt - keys[0]) / keys[1] * 100}%`});
  const row = add(frame, 'i', {class: 'row', hidden: ''}), col = add(frame, 'i', {class: 'col', hidden: ''});
  const out = add(box, 'output');
  a.pictures.push(i => {
    const y = (i + .5) / rows, x = (prompt + i - keys[0] + .5) / keys[1];
    row.hidden = y > 1;
    col.hidden = x > 1;
    row.style.top = 100 * y + '%';
    col.style.left = 100 * x + '%';
  });
  canvas.addEventListener('pointermove', e => {
    const r = canvas.getBoundingClientRect(), t = Math.floor((e.clientY - r.top) / r.height * rows);
    const s = keys[0] + Math.floor((e.clientX - r.left) / r.width * keys[1]) - prompt;
    const seen = s < 0 ? 'the prompt' : `${s} “${s < a.n ? a.text(s) : ''}”`;
    out.textContent = t >= 0 && t < a.n && s <= t ? `token ${t} “${a.text(t)}” → ${seen}` : '';
  });
  canvas.addEventListener('pointerleave', () => { out.textContent = ''; });
};

// ---- One token's numbers.
let active = null;
const facts = (a, i) => {
  const {waad, delta, fai, flow, advantage, entropy, logprob} = a.data;
  const lists = {
    'γ': a.credit, WAAD: waad, 'Δ': delta, FAI: fai, flow, A: advantage, 'entropy, nats': entropy, 'log p': logprob,
  };
  return Object.entries(lists).filter(([, list]) => list).map(([name, list]) => [name, number(list[i], 3)]);
};
const lookersOf = (a, i) => {
  const flat = a.data.lookers?.[i] || [];
  return Array.from({length: flat.length / 2}, (_, k) => ({token: flat[2 * k], weight: flat[2 * k + 1]}));
};
const fillTip = (a, i) => {
  tip.replaceChildren();
  add(tip, 'span', {class: 'place'}, `token ${i} of ${a.n}`);
  add(tip, 'div', {class: 'text'}, a.text(i));
  const list = add(tip, 'dl');
  for (const [name, value] of facts(a, i)) {
    const item = add(list, 'div');
    add(item, 'dt', {}, name);
    add(item, 'dd', {}, value);
  }
  const lookers = lookersOf(a, i);
  if (!lookers.length) return;
  const rows = add(tip, 'ol');
  add(rows, 'li', {}, 'of the later tokens, these look here most');
  for (const {token, weight} of lookers) {
    const row = add(rows, 'li');
    add(row, 'code', {}, a.text(token));
    add(row, 'span', {}, `+${token - i} tokens`);
    add(row, 'b', {}, number(weight, 2));
  }
};
const placeTip = (left, top, bottom) => {
  tip.hidden = false;
  const home = root.getBoundingClientRect(), height = tip.offsetHeight;
  const below = bottom + 10 + height <= innerHeight || top - height - 44 < 0;
  tip.style.left = Math.max(0, Math.min(home.width - tip.offsetWidth, left - home.left - 20)) + 'px';
  tip.style.top = (below ? bottom + 10 : top - height - 44) - home.top + 'px';
};
const clear = () => {
  if (!active) return;
  const {a} = active;
  a.element.querySelectorAll('.on,.look').forEach(e => e.classList.remove('on', 'look'));
  a.links?.replaceChildren();
  a.marks?.replaceChildren();
  tip.hidden = true;
  active = null;
};
const show = (a, i, fromStrip) => {
  clear();
  active = {a, i};
  a.spans[i].classList.add('on');
  const spot = a.spots[i], lookers = lookersOf(a, i), heaviest = lookers[0]?.weight || 1;
  for (const {token, weight} of lookers) {
    a.spans[token].classList.add('look');
    const to = a.spots[token];
    if (a.marks) add(a.marks, 'path', {class: 'link seen', d: `M${a.stripX(token)} 4V${a.stripBase}`});
    if (!spot || !to) continue;
    // Over the words of its own line, or out of it downwards and into the later line from above.
    const foot = spot.y + spot.height;
    const [from, bend] = spot.line === to.line ? [spot.y - 2, spot.y - 34] : [foot + 1, foot + 30];
    const d = `M${spot.x} ${from}C${spot.x} ${bend} ${to.x} ${to.y - 36} ${to.x} ${to.y - 3}`;
    add(a.links, 'path', {class: 'link', d, style: `stroke-width:${(.8 + 1.6 * weight / heaviest).toFixed(1)}`});
  }
  if (a.marks) add(a.marks, 'path', {class: 'now', d: `M${a.stripX(i)} 4V${a.stripBase + 12}`});
  for (const mark of a.pictures) mark(i);
  fillTip(a, i);
  if (fromStrip) {
    const r = a.element.querySelector('.strip').getBoundingClientRect();
    placeTip(r.left + a.stripX(i), r.top, r.bottom - 12);
  } else if (spot) {
    const r = a.spans[i].getBoundingClientRect();
    placeTip(r.left, r.top, r.bottom);
  }
};
// Moves the focus, and with it what the next Tab comes back to.
const go = (a, i) => {
  a.spans[a.at].removeAttribute('tabindex');
  a.spans[a.at].removeAttribute('aria-selected');
  a.at = i;
  const span = a.spans[i];
  span.tabIndex = 0;
  span.setAttribute('aria-selected', 'true');
  const parts = facts(a, i).map(fact => fact.join(' '));
  for (const {token} of lookersOf(a, i)) parts.push(`looked at by token ${token} ${a.text(token)}`);
  span.setAttribute('aria-label', `${a.text(i)}, token ${i} of ${a.n}: ${parts.join(', ')}`);
  span.focus({preventScroll: true});
  span.scrollIntoView({block: 'nearest'});
  show(a, i);
};
const beside = (a, i, lines) => {
  const spot = a.spots[i], line = spot && a.lines[spot.line + lines];
  const away = j => Math.abs(a.spots[j].x - spot.x);
  return line ? line.reduce((best, j) => away(j) < away(best) ? j : best) : i;
};
const onKey = (a, i, e) => {
  if (e.ctrlKey || e.metaKey || e.altKey) return;
  const step = e.key === 'PageDown' ? 1 : e.key === 'PageUp' ? -1 : 0;
  if (step) {
    let next = a.index + step;
    while (answers[next] && !answers[next].n) next += step;
    const to = answers[next];
    if (to) { go(to, to.at); to.element.scrollIntoView({block: 'start'}); show(to, to.at); }
  } else if (e.key === 'Escape') {
    clear();
  } else {
    const moves = {ArrowLeft: i - 1, ArrowRight: i + 1, Home: 0, End: a.n - 1,
                   ArrowUp: beside(a, i, -1), ArrowDown: beside(a, i, 1)}, to = moves[e.key];
    if (to === undefined) return;
    go(a, Math.min(a.n - 1, Math.max(0, to)));
  }
  e.preventDefault();
};
const rest = () => {
  const span = document.activeElement, a = answers.find(x => x.tokens.contains(span));
  if (a && span.index !== undefined) show(a, span.index); else clear();
};

const listen = a => {
  const strip = a.element.querySelector('.strip');
  const on = (event, action) => a.tokens.addEventListener(event, e => {
    if (e.target.index !== undefined) action(e.target.index, e);
  });
  on('pointerover', i => show(a, i));
  on('click', i => { if (getSelection().isCollapsed) go(a, i); });
  on('keydown', (i, e) => onKey(a, i, e));
  on('focusin', i => { if (active?.a !== a || active.i !== i) go(a, i); });
  a.tokens.addEventListener('focusout', clear);
  a.tokens.addEventListener('pointerleave', rest);
  strip.addEventListener('pointermove', e => {
    const share = (e.clientX - strip.getBoundingClientRect().left - SIDE) / (a.width - SIDE - 4);
    if (a.lined) show(a, Math.min(a.n - 1, Math.max(0, Math.floor(share * a.n))), true);
  });
  strip.addEventListener('pointerleave', rest);
};
const layOut = a => {
  const width = a.tokens.clientWidth;
  if (width === a.width) return;
  a.width = width;
  clear();
  drawStrip(a);
  drawScore(a);
};
const choose = name => {
  for (const a of answers) {
    a.credit = (a.data.credits.find(c => c[0] === name) || a.data.credits[0])?.[1];
    a.spans.forEach((span, i) => {
      const g = a.credit?.[i] ?? 1, level = Math.min(5, Math.round(Math.abs(g - 1) * 10));
      span.classList.remove(...[...span.classList].filter(c => /^[hc][1-5]$/.test(c)));
      if (level) span.classList.add((g > 1 ? 'h' : 'c') + level);
    });
    drawStrip(a);
  }
};
root?.querySelector('select')?.addEventListener('change', e => choose(e.target.value));
for (const a of answers) {
  drawHeads(a);
  for (const image of a.data.images) drawImage(a, image);
  layOut(a);
  listen(a);
}
const watch = new ResizeObserver(entries => entries.forEach(e => layOut(answers.find(a => a.tokens === e.target))));
for (const a of answers) watch.observe(a.tokens);
const linked = /^#a(\d+)t(\d+)$/.exec(location.hash), a = linked && answers[linked[1] - 1];
if (a && a.spans[linked[2]]) go(a, Number(linked[2]));
}
