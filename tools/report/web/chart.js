'use strict';
// The charts of every page: the report, the page about the rhythm, the live page. A number that is absent is null: that
// is a gap, never 0. A page runs this file before its own; what it offers is `Chart`.
const Chart = (() => {
  const svgSpace = document.createRange().createContextualFragment('<svg/>').firstChild.namespaceURI;

  const add = (parent, name, attributes = {}, text = undefined) => {
    const drawing = name === 'svg' || parent.namespaceURI === svgSpace;
    const e = drawing ? document.createElementNS(svgSpace, name) : document.createElement(name);
    for (const key in attributes) e.setAttribute(key, attributes[key]);
    if (text !== undefined) e.textContent = text;
    return parent.appendChild(e);
  };

  const known = v => Number.isFinite(v);
  const number = (v, digits) => {
    if (!known(v)) return '–';
    const short = Number(v.toPrecision(digits)), size = Math.abs(short);
    if (size > 0 && size < 1e-4) return short.toExponential();
    return size >= 1e3 && size < 1e15 ? short.toLocaleString('en') : String(short);
  };
  const measure = (v, unit) => {
    if (unit === 'ratio' && known(v)) return number(100 * v, 3) + ' %';
    return number(v, 4) + (known(v) && unit && unit !== 'ratio' ? (unit[0] === '/' ? '' : ' ') + unit : '');
  };

  const pair = ([x, y]) => x.toFixed(1) + ' ' + y.toFixed(1);
  // Path data through [x, y] points; null ends a run. A lone point becomes a dot under round caps.
  const trace = points => points.map((p, i) => {
    if (!p) return '';
    const starts = i === 0 || !points[i - 1];
    return (starts ? 'M' : 'L') + pair(p) + (starts && !points[i + 1] ? 'h0' : '');
  }).join('');
  // The same runs closed down to `base(i)`.
  const area = (points, base) => {
    let d = '', run = [];
    points.concat([null]).forEach((p, i) => {
      if (p) { run.push(i); return; }
      const there = run.map(j => pair(points[j])), back = run.map(j => pair([points[j][0], base(j)])).reverse();
      if (run.length > 1) d += 'M' + there.concat(back).join('L') + 'Z';
      run = [];
    });
    return d;
  };

  // Bounds around low … high on multiples of 1, 2 or 5 times a power of ten, and about `count` steps between them.
  const nice = (low, high, count) => {
    const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
    const step = power * [1, 2, 5, 10].find(lead => raw / power <= lead);
    return {low: Math.floor(low / step) * step, high: Math.ceil(high / step) * step, step};
  };
  const ticks = ({low, high, step}) => {
    const first = Math.ceil(low / step - 1e-9), last = Math.floor(high / step + 1e-9);
    return Array.from({length: last - first + 1}, (_, i) => Number(((first + i) * step).toPrecision(12)));
  };

  // Lets the pointer or the keys choose one of count() things that an SVG shows. `find(event)` is the one under the
  // pointer, or -1; `moves(at)` says for each key where it leads from `at`.
  const pickable = (svg, {count, start, find, moves, show, hide}) => {
    let at = null;
    const choose = i => { if (i >= 0 && i < count()) { at = i; show(i); } };
    const rest = () => { if (document.activeElement === svg && at !== null) choose(at); else hide(); };
    svg.addEventListener('pointermove', e => { const i = find(e); if (i >= 0 && i < count()) choose(i); else rest(); });
    svg.addEventListener('pointerleave', rest);
    svg.addEventListener('focus', () => choose(Math.min(at ?? start(), count() - 1)));
    svg.addEventListener('blur', hide);
    svg.addEventListener('keydown', e => {
      const to = moves(at ?? start())[e.key];
      if (e.key === 'Escape') hide(); else if (to === undefined) return; else choose(to);
      e.preventDefault();
    });
  };

  // ---- Lines over steps or over time.

  // Centred mean over about a tenth of the run.
  const runningMean = y => y.map((v, i) => {
    if (!known(v)) return null;
    const half = Math.max(1, Math.floor(y.length / 20));
    const near = y.slice(Math.max(0, i - half), i + half + 1).filter(known);
    return near.reduce((sum, one) => sum + one, 0) / near.length;
  });

  const hasMean = ({trend, x}) => trend && x.length > 3;

  const valueAxis = ({series, compact}) => {
    const values = series.flatMap(s => [...s.y, ...s.low ?? [], ...s.high ?? []]).filter(known);
    let low = values.length ? Math.min(...values) : 0, high = values.length ? Math.max(...values) : 1;
    if (!compact && low > 0 && low < 0.5 * high) low = 0;  // a start at zero is easier to judge
    if (high - low < 1e-12 * Math.max(Math.abs(high), 1e-300)) {
      const pad = high === 0 ? 1 : Math.abs(high) / 2;
      if (compact) return {low: low - pad, high: high + pad, marks: values.length ? [low] : []};
      if (high !== 0) low -= pad;
      high += pad;
    }
    if (compact) return {low, high, marks: [low, high]};
    const axis = nice(low, high, 4);
    return {...axis, marks: ticks(axis)};
  };

  // Where a value stands, in pixels.
  const frameOf = (spec, width) => {
    const {x, compact, unit} = spec, height = compact ? 66 : 210;
    const edge = compact ? {left: 58, right: 6, top: 8, bottom: 20}
      : {left: 56, right: 12, top: unit && unit !== 'ratio' ? 26 : 12, bottom: 24};
    const y = valueAxis(spec), alone = !(x.at(-1) > x[0]);
    const first = alone ? (x[0] ?? 0) - 1 : x[0], last = alone ? (x[0] ?? 0) + 1 : x.at(-1);
    const right = width - edge.right, bottom = height - edge.bottom;
    return {...edge, width, height, first, last, right, bottom, y, alone,
      toX: v => edge.left + (v - first) / (last - first) * (right - edge.left),
      toY: v => bottom - (v - y.low) / (y.high - y.low) * (bottom - edge.top)};
  };

  const clock = time_s => new Date(1000 * time_s).toLocaleTimeString();
  const placeText = (spec, x) => spec.axis === 'time' ? clock(x) : `${spec.axis} ${number(x, 8)}`;

  // What stands below: some of the steps, or the first and the last time.
  const notePlaces = (note, frame, {axis, x}) => {
    const {left, right, first, last, alone} = frame, foot = frame.height - 6;
    if (axis === 'time') {
      if (x.length) note(right, foot, 'end', clock(x.at(-1)));
      if (!alone) note(left, foot, 'start', clock(first));
      return;
    }
    const step = Math.max(1, nice(0, last - first, Math.max(2, Math.floor(frame.width / 90))).step);
    const places = alone ? x.slice(0, 1) : ticks({low: first, high: last, step});
    for (const v of places) note(frame.toX(v), foot, 'middle', number(v, 8));
    note(0, foot, 'start', axis);
  };

  const drawGrid = (svg, frame, spec) => {
    const grid = add(svg, 'g', {class: 'grid', 'aria-hidden': 'true'}), percent = spec.unit === 'ratio';
    const note = (x, y, anchor, text) => add(grid, 'text', {x, y, 'text-anchor': anchor}, text);
    for (const v of frame.y.marks) {
      const y = frame.toY(v).toFixed(1);
      add(grid, 'path', {d: `M${frame.left} ${y}H${frame.right}`});
      note(frame.left - 6, Number(y) + 4, 'end', measure(v, percent ? 'ratio' : ''));
    }
    if (spec.unit && !percent && !spec.compact) note(0, 11, 'start', spec.unit);
    notePlaces(note, frame, spec);
  };

  // Bands where no series has a number.
  const drawGaps = (svg, frame, {x, series, sparse}) => {
    if (sparse) return;
    const there = x.map((_, i) => series.some(s => known(s.y[i])));
    const band = (begin, end) => {
      const from = frame.toX(x[Math.max(0, begin - 1)]), to = frame.toX(x[Math.min(x.length - 1, end)]);
      add(svg, 'rect', {class: 'gap', x: from.toFixed(1), y: frame.top, width: Math.max(1, to - from).toFixed(1),
        height: frame.bottom - frame.top});
    };
    for (let i = 0; i < x.length; ++i) {
      if (there[i]) continue;
      const next = there.indexOf(true, i), end = next < 0 ? x.length : next;
      band(i, end);
      i = end;
    }
  };

  const drawSeries = (svg, frame, spec, index) => {
    const {x, sparse} = spec, {y, low, high} = spec.series[index], css = `s${index}`;
    const place = list => list.map((v, i) => known(v) ? [frame.toX(x[i]), frame.toY(v)] : null);
    const points = sparse ? place(y).filter(p => p) : place(y);
    const mean = index === 0 && hasMean(spec);
    if (low) add(svg, 'path', {class: `band b${index}`, d: area(place(high), i => frame.toY(low[i]))});
    add(svg, 'path', {class: css + (mean ? ' raw' : ''), d: trace(points)});
    if (mean) add(svg, 'path', {class: `${css} mean`, d: trace(place(runningMean(y)))});
    points.forEach((p, i) => {
      if (!p || !(sparse || (!points[i - 1] && !points[i + 1]))) return;
      add(svg, 'circle', {class: css, cx: p[0].toFixed(1), cy: p[1].toFixed(1), r: 3});
    });
  };

  const sentence = ({label, y, absent}) => {
    const values = y.filter(known);
    if (!values.length) return `${label}: no values` + (absent ? `, ${absent}` : '');
    const [low, high, first, last] = [Math.min(...values), Math.max(...values), values[0], values.at(-1)];
    const [from, to, begin, end] = [low, high, first, last].map(v => number(v, 3));
    return `${label} between ${from} and ${to}, first ${begin}, last ${end}`;
  };

  // What the legend says: the numbers at place `at`, or the newest ones.
  const fillLegend = (legend, spec, at) => {
    legend.replaceChildren();
    if (spec.compact && at === null) return;
    spec.series.forEach((s, i) => {
      const v = at === null ? s.y.findLast(known) : s.y[at];
      const key = add(legend, 'span', {class: `k${i}`}, s.label + ' ');
      add(key, 'b', {}, measure(v, spec.unit === 'ratio' ? 'ratio' : ''));
      const place = at === null ? s.y.findLastIndex(known) : at;
      if (known(s.low?.[place])) key.append(` [${number(s.low[place], 3)}, ${number(s.high[place], 3)}]`);
      if (!known(v) && s.absent) add(legend, 'span', {class: 'absent'}, s.absent);
    });
    if (hasMean(spec)) add(legend, 'span', {class: 'absent'}, 'bold: running mean');
    add(legend, 'span', {class: 'at'}, at === null ? 'newest' : placeText(spec, spec.x[at]));
  };

  // One chart in a <figure>, which it fills anew on every update and whenever the figure's width changes.
  const makeLine = figure => {
    const svg = add(figure, 'svg', {class: 'plot', role: 'img', tabindex: 0});
    const legend = add(figure, 'output', {class: 'legend', 'aria-live': 'off'});
    const why = add(figure, 'small', {class: 'absent'});
    let spec = null, frame = null, cursor = null, shown = null;
    const point = i => {
      shown = i;
      cursor.replaceChildren();
      fillLegend(legend, spec, i);
      if (i === null) return;
      const x = frame.toX(spec.x[i]).toFixed(1);
      add(cursor, 'path', {d: `M${x} ${frame.top}V${frame.bottom}`});
      spec.series.forEach((s, k) => {
        if (known(s.y[i])) add(cursor, 'circle', {class: `s${k}`, cx: x, cy: frame.toY(s.y[i]).toFixed(1), r: 4});
      });
    };
    const draw = () => {
      frame = frameOf(spec, Math.max(160, svg.clientWidth));
      svg.replaceChildren();
      svg.setAttribute('viewBox', `0 0 ${frame.width} ${frame.height}`);
      svg.style.height = frame.height + 'px';
      drawGrid(svg, frame, spec);
      drawGaps(svg, frame, spec);
      spec.series.forEach((_, i) => drawSeries(svg, frame, spec, i));
      cursor = add(svg, 'g', {class: 'cursor'});
      point(shown !== null && shown < spec.x.length ? shown : null);
    };
    const nearest = e => {
      const box = svg.getBoundingClientRect(), px = (e.clientX - box.left) / box.width * frame.width;
      const away = i => Math.abs(frame.toX(spec.x[i]) - px), told = i => spec.series.some(s => known(s.y[i]));
      const places = [...spec.x.keys()].filter(i => !spec.sparse || told(i));
      return places.reduce((best, i) => best < 0 || away(i) < away(best) ? i : best, -1);
    };
    const steps = {ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity};
    pickable(svg, {
      count: () => spec.x.length, start: () => spec.x.length - 1, find: nearest, show: point, hide: () => point(null),
      moves: at => Object.fromEntries(Object.entries(steps).map(
        ([key, by]) => [key, Math.min(spec.x.length - 1, Math.max(0, at + by))])),
    });
    svg.addEventListener('focus', () => legend.setAttribute('aria-live', 'polite'));
    svg.addEventListener('blur', () => legend.setAttribute('aria-live', 'off'));
    new ResizeObserver(() => { if (frame && svg.clientWidth !== frame.width) draw(); }).observe(svg);
    return given => {
      spec = given;
      const title = figure.querySelector('figcaption b')?.textContent ?? '';
      const said = spec.series.map(sentence).join('; ');
      svg.setAttribute('aria-label', `${title}: ${said}. Arrow keys read out the values.`);
      const gaps = spec.series.filter(s => s.absent && !spec.sparse && s.y.some(v => !known(v)));
      why.textContent = gaps.map(s => `gaps in ${s.label}: ${s.absent}`).join('; ');
      draw();
    };
  };

  const lines = new WeakMap();
  // Draws `spec` into a <figure>, in place of what it drew there before: {axis: "time" (Unix seconds), "step" or other
  // words before a number, x: [number], unit ("ratio" is shown in percent), series: [{label, y: [number or null],
  // absent: why one may be null, low, high: a band around y, likewise}], trend: the first series faint and its running
  // mean strong, sparse: few values, as dots that are joined over the places between, compact: small}.
  const line = (figure, spec) => {
    if (!lines.has(figure)) lines.set(figure, makeLine(figure));
    lines.get(figure)(spec);
  };

  // [{label, value, text}] as bars, the largest first; one of `full` is as long as there is room.
  const bars = (parent, entries, full) => {
    const box = add(parent, 'div', {class: 'bars'});
    for (const {label, value, text} of [...entries].sort((a, b) => b.value - a.value)) {
      add(box, 'span', {}, label);
      add(add(box, 'i'), 'u').style.width = Math.min(100, 100 * value / full) + '%';
      add(box, 'span', {}, text);
    }
  };

  // ---- Lanes over time: who worked when.

  const kinds = ['sampling', 'waiting', 'passes', 'exchange', 'optimizer', 'publish', 'checkpoint', 'records'];
  const laneHeight = 22, laneGap = 8;

  // Seconds of each kind in a lane between two moments.
  const between = ({spans}, from, to) => {
    const sums = {};
    for (const [kind, begin, end] of spans) {
      const seconds = Math.min(end, to) - Math.max(begin, from);
      if (seconds > 0) sums[kind] = (sums[kind] ?? 0) + seconds;
    }
    return sums;
  };
  const sumsText = sums =>
    kinds.filter(kind => sums[kind]).map(kind => `${kind} ${number(sums[kind], 3)} s`).join(', ');

  const drawLane = (svg, {label, spans, marks}, top, toX) => {
    add(svg, 'text', {x: 0, y: top + laneHeight - 7}, label);
    for (const [kind, begin, end] of spans) {
      const x = toX(begin), width = Math.max(0.5, toX(end) - x);
      add(svg, 'rect', {class: `w-${kind}`, x: x.toFixed(1), y: top, width: width.toFixed(1),
        height: laneHeight});
    }
    for (const at of marks) add(svg, 'path', {class: 'mark', d: `M${toX(at).toFixed(1)} ${top + laneHeight}v4`});
  };

  // {length: s, steps: [{step, from, to}], lanes: [{label, spans: [[kind, from, to]], marks: [s]}]} into a <figure>.
  const lanes = (figure, {length, steps, lanes: list}) => {
    const svg = add(figure, 'svg', {class: 'plot', role: 'img', tabindex: 0});
    const legend = add(figure, 'output', {class: 'legend', 'aria-live': 'polite'});
    const height = list.length * (laneHeight + laneGap) + 30;
    let width = 0, cursor = null;
    const left = 8 + 7 * Math.max(...list.map(({label}) => label.length));
    const toX = s => left + s / length * (width - left - 6);
    const show = i => {
      const {step, from, to} = steps[i];
      legend.replaceChildren();
      for (const lane of list) {
        add(legend, 'span', {}, `${lane.label}: ${sumsText(between(lane, from, to)) || 'nothing'}`);
      }
      add(legend, 'span', {class: 'at'}, `step ${step}, ${number(to - from, 3)} s`);
      cursor.setAttribute('x', toX(from).toFixed(1));
      cursor.setAttribute('width', Math.max(1, toX(to) - toX(from)).toFixed(1));
    };
    const hide = () => {
      legend.replaceChildren();
      const used = kinds.filter(kind => list.some(({spans}) => spans.some(([one]) => one === kind)));
      for (const kind of used) add(legend, 'span', {class: `key w-${kind}`}, kind);
      cursor.setAttribute('width', 0);
    };
    const draw = () => {
      width = Math.max(240, svg.clientWidth);
      svg.replaceChildren();
      svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
      svg.style.height = height + 'px';
      cursor = add(svg, 'rect', {class: 'gap', y: 0, height: height - 22});
      list.forEach((lane, i) => drawLane(svg, lane, 4 + i * (laneHeight + laneGap), toX));
      const grid = add(svg, 'g', {class: 'grid', 'aria-hidden': 'true'});
      for (const {step, from} of steps) {
        const x = toX(from).toFixed(1);
        add(grid, 'path', {d: `M${x} 0V${height - 22}`});
        add(grid, 'text', {x, y: height - 6}, `step ${step}`);
      }
      hide();
    };
    svg.setAttribute('aria-label', list.map(lane => `${lane.label}: ${sumsText(between(lane, 0, length))}`).join('; ') +
      '. Arrow keys read out the steps.');
    draw();
    const at = e => {
      const box = svg.getBoundingClientRect(), x = (e.clientX - box.left) / box.width * width;
      const s = (x - left) / (width - left - 6) * length;
      return steps.findIndex(({from, to}) => from <= s && s < to);
    };
    const last = steps.length - 1;
    pickable(svg, {
      count: () => steps.length, start: () => last, find: at, show, hide,
      moves: i => ({ArrowLeft: Math.max(0, i - 1), ArrowRight: Math.min(last, i + 1), Home: 0, End: last}),
    });
    new ResizeObserver(() => { if (svg.clientWidth !== width) draw(); }).observe(svg);
  };

  return {add, number, nice, trace, area, pickable, line, lanes, bars};
})();

for (const figure of document.querySelectorAll('figure.chart')) {
  Chart.line(figure, JSON.parse(figure.querySelector('script').textContent));
}
for (const figure of document.querySelectorAll('figure.lanes')) {
  Chart.lanes(figure, JSON.parse(figure.querySelector('script').textContent));
}
