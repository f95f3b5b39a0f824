import { useId } from "react";
import { count } from "./format.ts";

/** A bar: its parts lie on top of each other. */
export interface BarDatum {
  readonly label: string;
  readonly values: readonly number[];
}

export interface BarChartProps {
  /** What the chart shows, for those who cannot see it. */
  readonly title: string;
  /** The name of each part, the lowest first. */
  readonly parts: readonly string[];
  readonly data: readonly BarDatum[];
  /** Labels shown below; the others are in the table. */
  readonly labelEvery?: number;
  readonly height?: number;
}

const AXIS = 22;
const TOP = 14;

/** Bars in percents of the width, so that nothing is measured; a table says the same to screen readers. */
export function BarChart({ title, parts, data, labelEvery = 1, height = 180 }: BarChartProps) {
  const id = useId();
  const sums = data.map((bar) => bar.values.reduce((sum, value) => sum + value, 0));
  const top = niceTop(Math.max(1, ...sums));
  const slot = 100 / Math.max(1, data.length);
  const room = height - AXIS - TOP;
  return (
    <figure className="hr-chart" aria-labelledby={id}>
      <figcaption id={id} className="hr-hidden">{title}</figcaption>
      <svg className="hr-chart-plot" width="100%" height={height} aria-hidden="true">
        <line className="hr-chart-line" x1="0" x2="100%" y1={TOP} y2={TOP} />
        <line className="hr-chart-line" x1="0" x2="100%" y1={TOP + room / 2} y2={TOP + room / 2} />
        <line className="hr-chart-axis" x1="0" x2="100%" y1={TOP + room} y2={TOP + room} />
        <text className="hr-chart-text" x="0" y={TOP - 4}>{count(top)}</text>
        {data.map((bar, place) => (
          <g key={bar.label} className="hr-chart-bar">
            <title>{describe(bar, parts)}</title>
            <rect className="hr-chart-hit" x={`${place * slot}%`} y={TOP} width={`${slot}%`} height={room} />
            {stack(bar.values, top, room).map(({ y, size }, part) => (
              <rect key={part} className={`hr-chart-part hr-part-${part}`} x={`${place * slot + slot * 0.14}%`} width={`${slot * 0.72}%`} y={TOP + y} height={size} rx="1.5" />
            ))}
            {place % labelEvery === 0 && (
              <text className="hr-chart-text" x={`${(place + 0.5) * slot}%`} y={height - 5} textAnchor={anchor(place, data.length)}>{bar.label}</text>
            )}
          </g>
        ))}
      </svg>
      {parts.length > 1 && (
        <ul className="hr-legend" aria-hidden="true">
          {parts.map((part, place) => <li key={part}><span className={`hr-swatch hr-part-${place}`} />{part}</li>)}
        </ul>
      )}
      <div className="hr-hidden">
        <table>
          <caption>{title}</caption>
          <thead><tr><th scope="col">When</th>{parts.map((part) => <th key={part} scope="col">{part}</th>)}</tr></thead>
          <tbody>
            {data.map((bar) => (
              <tr key={bar.label}><th scope="row">{bar.label}</th>{bar.values.map((value, part) => <td key={part}>{count(value)}</td>)}</tr>
            ))}
          </tbody>
        </table>
      </div>
    </figure>
  );
}

function anchor(place: number, bars: number): "start" | "middle" | "end" {
  if (bars < 8) return "middle";
  if (place === 0) return "start";
  return place >= bars - 1 ? "end" : "middle";
}

function describe(bar: BarDatum, parts: readonly string[]): string {
  const values = bar.values.map((value, part) => `${count(value)} ${parts[part]?.toLowerCase()}`);
  return `${bar.label}: ${values.join(", ")}`;
}

/** Where each part lies, in pixels from above. A value that is not 0 can be seen. */
function stack(values: readonly number[], top: number, room: number) {
  let below = 0;
  return values.map((value) => {
    const size = value === 0 ? 0 : Math.max(2, (value / top) * room);
    below += size;
    return { y: Math.max(0, room - below), size };
  });
}

/** A round number at or above the largest, that is not much larger. */
function niceTop(most: number): number {
  const base = 10 ** Math.floor(Math.log10(most));
  const step = [1, 2, 3, 4, 6, 8, 10].find((it) => it * base >= most) ?? 10;
  return step * base;
}
