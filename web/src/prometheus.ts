/** A line of Prometheus' text format. */
export interface Sample {
  readonly labels: string;
  readonly value: number;
}

/** The samples of one metric. */
export function valuesOf(text: string, metric: string): Sample[] {
  return text.split("\n").flatMap((line) => {
    const [, name, labels = "", value] = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
    return name === metric ? [{ labels, value: Number(value) }] : [];
  });
}

export function sumOf(samples: readonly Sample[]): number {
  return samples.reduce((sum, sample) => sum + sample.value, 0);
}
