// Draws a dashboard from its JSON and from what Prometheus answered, with the charts, values, tables and frames of
// Grafana's own frontend (npm's @grafana/ui). Grafana's panels around these are not on npm: which frame a series becomes,
// the transformations of tables and the lines of annotations are here. scripts/monitoring/pictures.py sets window.PICTURE.
import 'uplot/dist/uPlot.min.css';

import {createTheme, dateTime, FieldType, fieldMatchers, getDisplayProcessor, getFieldDisplayName, ThemeContext} from '@grafana/data';
import {BigValue, GlobalStyles, PanelChrome, Table, TimeSeries} from '@grafana/ui';
import React, {useLayoutEffect} from 'react';
import {createRoot} from 'react-dom/client';

const {board, from, to, step, answers, marks, width} = window.PICTURE;
const theme = createTheme({colors: {mode: 'light'}});
const UNIT = 34;  // pixels of a unit of height, as in Grafana: 30, and the gap between panels
const RANGE = {from: dateTime(from), to: dateTime(to), raw: {from: dateTime(from), to: dateTime(to)}};

const overridesOf = (panel, name) =>
  (panel.fieldConfig.overrides || []).filter((o) => o.matcher.id === 'byName' && o.matcher.options === name);

function configured(panel, field, index) {
  const config = {...panel.fieldConfig.defaults, ...field.config};
  for (const override of overridesOf(panel, field.name)) {
    for (const {id, value} of override.properties) if (id !== 'links') config[id] = value;
  }
  const numbers = field.values.filter((v) => typeof v === 'number');
  const min = Math.min(...numbers), max = Math.max(...numbers);
  const found = {...field, config, state: {seriesIndex: index, range: {min, max, delta: max - min}}};
  found.display = getDisplayProcessor({field: found, theme, timeZone: 'utc'});
  return found;
}

const legendOf = (target, labels) => target.legendFormat.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, name) => labels[name] ?? '');

// One frame a series, with null where a step has no sample, so that a line ends there.
function framesOverTime(panel) {
  const found = [];
  panel.targets.forEach((target, i) => {
    for (const {labels, values} of answers[panel.id][i]) {
      const at = new Map(values.map(([when, value]) => [Math.round(when * 1000), value]));
      const times = [];
      for (let when = from; when <= to; when += step) times.push(when);
      const fields = [
        {name: 'Time', type: FieldType.time, config: {}, values: times},
        configured(panel, {name: 'Value', type: FieldType.number, labels, values: times.map((when) => at.get(when) ?? null),
                           config: {displayNameFromDS: legendOf(target, labels)}}, found.length),
      ];
      found.push({refId: target.refId, fields, length: times.length});
    }
  });
  return found;
}

// What partitionByValues and sortBy leave of an answer with the labels run and step.
function framesOverSteps(panel) {
  const byRun = new Map();
  for (const {labels, values} of answers[panel.id][0]) {
    if (!byRun.has(labels.run)) byRun.set(labels.run, []);
    byRun.get(labels.run).push([Number(labels.step), values[0][1]]);
  }
  return [...byRun.entries()].sort().map(([run, points], i) => {
    points.sort((a, b) => a[0] - b[0]);
    const custom = {drawStyle: 'line', lineWidth: 1, showPoints: 'never', pointSize: 3, axisPlacement: 'auto'};
    const fields = [
      {name: 'step', type: FieldType.number, config: {custom: {axisLabel: 'step'}}, values: points.map((p) => p[0])},
      configured(panel, {name: 'Value', type: FieldType.number, labels: {run}, values: points.map((p) => p[1]),
                         config: {displayName: run, custom}}, i),
    ];
    fields[0].display = getDisplayProcessor({field: fields[0], theme, timeZone: 'utc'});
    return {fields, length: points.length};
  });
}

// What merge and organize make of instant answers: a row for each set of labels.
function tableFrame(panel) {
  const rows = new Map(), organize = panel.transformations.find((t) => t.id === 'organize').options;
  panel.targets.forEach((target, i) => {
    const column = panel.targets.length === 1 ? 'Value' : `Value #${target.refId}`;
    for (const {labels, values} of answers[panel.id][i]) {
      const key = JSON.stringify(Object.entries(labels).sort());
      rows.set(key, {...labels, ...rows.get(key), [column]: values[0][1]});
    }
  });
  const all = [...rows.values()], order = organize.indexByName;
  const names = [...new Set(all.flatMap((row) => Object.keys(row)))].filter((name) => !organize.excludeByName[name]);
  names.sort((a, b) => (order[a] ?? 99) - (order[b] ?? 99));
  const fields = names.map((name, i) => {
    const type = name.startsWith('Value') ? FieldType.number : FieldType.string;
    const values = all.map((row) => row[name] ?? null);
    return configured(panel, {name: organize.renameByName[name] ?? name, type, values, config: {}}, i);
  });
  return {fields, length: all.length};
}

function Stat({panel, width, height}) {
  const frames = framesOverTime(panel);
  if (!frames.length) return <NoData width={width} height={height} />;
  const each = width / frames.length;
  return <div style={{display: 'flex'}}>{frames.map((frame, i) => {
    const [time, field] = frame.fields;
    const last = field.values.findLast((v) => v !== null);
    const value = {...field.display(last), title: getFieldDisplayName(field, frame, frames)};
    const sparkline = panel.options.graphMode === 'area' ? {y: field, x: time} : undefined;
    return <BigValue key={i} theme={theme} width={each} height={height} value={value} sparkline={sparkline} count={frames.length}
                     colorMode={panel.options.colorMode} graphMode={panel.options.graphMode}
                     textMode={panel.options.textMode} justifyMode={panel.options.justifyMode} />;
  })}</div>;
}

const NoData = ({width, height}) => (
  <div style={{width, height, display: 'flex', alignItems: 'center', justifyContent: 'center', color: theme.colors.text.secondary}}>
    No data
  </div>
);

// The dashed lines of annotations.
function Marks({config}) {
  useLayoutEffect(() => config.addHook('draw', (u) => {
    const {ctx, bbox} = u;
    ctx.save();
    ctx.setLineDash([5, 5]);
    for (const {color, times} of marks) {
      ctx.strokeStyle = theme.visualization.getColorByName(color);
      for (const when of times) {
        const x = u.valToPos(when, 'x', true);
        if (x < bbox.left || x > bbox.left + bbox.width) continue;
        ctx.beginPath();
        ctx.moveTo(x, bbox.top);
        ctx.lineTo(x, bbox.top + bbox.height);
        ctx.stroke();
      }
    }
    ctx.restore();
  }), [config]);
  return null;
}

function Lines({panel, width, height}) {
  const overSteps = panel.type === 'xychart';
  const frames = overSteps ? framesOverSteps(panel) : framesOverTime(panel);
  if (!frames.length) return <NoData width={width} height={height} />;
  const x = overSteps ? fieldMatchers.get('byName').get('step') : fieldMatchers.get('byType').get('time');
  const y = overSteps ? fieldMatchers.get('byName').get('Value') : fieldMatchers.get('byType').get('number');
  return <TimeSeries frames={frames} width={width} height={height} timeRange={RANGE} timeZone="utc" legend={panel.options.legend}
                     options={panel.options} fields={{x, y}} theme={theme}>
    {(config) => (overSteps ? null : <Marks config={config} />)}
  </TimeSeries>;
}

function Content({panel, width, height}) {
  if (panel.type === 'stat') return <Stat panel={panel} width={width} height={height} />;
  if (panel.type === 'table') {
    const frame = tableFrame(panel);
    return frame.length ? <Table data={frame} width={width} height={height} /> : <NoData width={width} height={height} />;
  }
  return <Lines panel={panel} width={width} height={height} />;
}

function Panel({panel}) {
  const {x, y, w, h} = panel.gridPos, column = width / 24;
  const place = {position: 'absolute', left: x * column + 4, top: y * UNIT + 44};
  if (panel.type === 'row') return <div style={{...place, fontWeight: 500, fontSize: 15, paddingTop: 6}}>{panel.title}</div>;
  return <div style={place}>
    <PanelChrome width={w * column - 8} height={h * UNIT - 8} title={panel.title}>
      {(innerWidth, innerHeight) => <Content panel={panel} width={innerWidth} height={innerHeight} />}
    </PanelChrome>
  </div>;
}

function Board() {
  const bottom = Math.max(...board.panels.map((p) => p.gridPos.y + p.gridPos.h));
  return <div style={{position: 'relative', width, height: bottom * UNIT + 52, background: theme.colors.background.canvas}}>
    <GlobalStyles />
    <div style={{padding: '12px 8px', fontSize: 18, fontWeight: 500}}>{board.title}</div>
    {board.panels.map((panel) => <Panel key={panel.id} panel={panel} />)}
  </div>;
}

createRoot(document.getElementById('board')).render(
    <ThemeContext.Provider value={theme}><Board /></ThemeContext.Provider>);
