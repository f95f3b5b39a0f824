import { useEffect, useId, useRef } from "react";
import type { Forecast, LimitState, Plan, Plans, Usage } from "./api.ts";
import { away, count, date, price } from "./format.ts";
import { listed, recommend, useForecast, usePlans, useUsage } from "./hooks.ts";
import { levelOf, most, percent, span, taken, tightest } from "./level.ts";
import { Bar } from "./Meter.tsx";
import { useLabel } from "./provider.tsx";
import { Skeleton } from "./UsageDashboard.tsx";

export interface UpgradeModalProps {
  readonly open: boolean;
  readonly onClose: () => void;
  /** Called with the name of the plan that was chosen. */
  readonly onChoose: (plan: string) => void;
  readonly subject?: string;
  /** The plans that are offered; without, those of the catalogue, which end users may not read. */
  readonly plans?: Plans;
  /** ISO 4217; of the plans' prices. */
  readonly currency?: string;
}

/** Which plan would help, beside the others. It reads nothing until it is opened. */
export function UpgradeModal(props: UpgradeModalProps) {
  return props.open ? <Loaded {...props} /> : null;
}

function Loaded({ subject, plans, ...rest }: UpgradeModalProps) {
  const usage = useUsage({ subject });
  const known = usePlans();
  const tight = tightest(usage.data?.limits ?? []) ?? usage.data?.limits[0];
  const forecast = useForecast(tight?.metric ?? "", subject);
  const view = { usage: usage.data, plans: plans ?? known.data, forecast: forecast.data };
  return <UpgradeModalView {...rest} {...view} />;
}

export interface UpgradeModalViewProps extends Omit<UpgradeModalProps, "subject" | "plans" | "open"> {
  readonly usage: Usage | undefined;
  readonly plans: Plans | undefined;
  readonly forecast?: Forecast | undefined;
}

/** The same of data that the host has fetched. */
export function UpgradeModalView(props: UpgradeModalViewProps) {
  const { usage, plans, forecast, onClose, onChoose, currency = "USD" } = props;
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const before = document.activeElement;
    dialog.current?.showModal();
    return () => (before instanceof HTMLElement ? before.focus() : undefined);
  }, []);
  return (
    <dialog ref={dialog} className="hr-root hr-modal" aria-labelledby={id} onClose={onClose} onClick={(event) => event.target === dialog.current && onClose()}>
      <div className="hr-modal-body">
        <header className="hr-row">
          <h2 id={id} className="hr-title">Upgrade your plan</h2>
          <button type="button" className="hr-button hr-button-quiet" onClick={onClose}>Close</button>
        </header>
        {usage && plans ? <Offer {...{ usage, plans, forecast, onChoose, currency }} /> : <Skeleton lines={5} />}
      </div>
    </dialog>
  );
}

interface OfferProps {
  readonly usage: Usage;
  readonly plans: Plans;
  readonly forecast: Forecast | undefined;
  readonly onChoose: (plan: string) => void;
  readonly currency: string;
}

function Offer({ usage, plans, forecast, onChoose, currency }: OfferProps) {
  const bounded = usage.limits.filter((limit) => most(limit) !== null);
  const tight = tightest(bounded) ?? bounded[0];
  const names = offered(usage, plans);
  const hint = forecast?.hints.find((it) => it.kind === "plan");
  const best = hint?.kind === "plan" ? hint.plan : tight && recommend(usage, plans, tight);
  return (
    <>
      {tight && <Urgency limit={tight} forecast={forecast} />}
      <ul className="hr-meters hr-meters-small">
        {bounded.map((limit) => <SmallMeter key={`${limit.subject} ${limit.name}`} limit={limit} />)}
      </ul>
      {names.length === 0 && <p className="hr-empty">There are no other plans at the moment.</p>}
      <ul className="hr-plans">
        {names.map((name) => (
          <PlanCard key={name} {...{ name, currency, onChoose }} plan={plans[name] ?? {}} isCurrent={name === usage.plan} isBest={name === best} />
        ))}
      </ul>
    </>
  );
}

/** The current plan and those that may be offered, the cheapest first. */
function offered(usage: Usage, plans: Plans): string[] {
  const names = listed(plans);
  return usage.plan in plans && !names.includes(usage.plan) ? [usage.plan, ...names] : names;
}

function Urgency({ limit, forecast }: { readonly limit: LimitState; readonly forecast: Forecast | undefined }) {
  const name = useLabel()(limit.metric);
  const level = levelOf(limit);
  const ends = forecast?.metric === limit.metric ? forecast.exhausts_at : null;
  const left = `${count(limit.remaining ?? 0)} left ${span(limit)}`;
  let text = `${name}: ${left}.`;
  if (level === "reached") text = `${name}: you have reached the limit.`;
  else if (ends) text = `${name}: ${left}. At your pace they run out ${away(ends)}, on ${date(ends)}.`;
  return <p className="hr-urgency" data-level={level}>{text}{level === "reached" && limit.resets_at && ` It resets ${away(limit.resets_at)}.`}</p>;
}

function SmallMeter({ limit }: { readonly limit: LimitState }) {
  const name = useLabel()(limit.metric);
  const text = `${count(taken(limit))} of ${count(most(limit) ?? 0)}`;
  return (
    <li>
      <div className="hr-row hr-small"><span>{name} <span className="hr-quiet">{span(limit)}</span></span><span className="hr-number">{text}</span></div>
      <Bar percent={percent(limit)} level={levelOf(limit)} label={`${name} ${span(limit)}`} text={`${percent(limit)}%: ${text} used`} />
    </li>
  );
}

interface PlanCardProps {
  readonly name: string;
  readonly plan: Plan;
  readonly currency: string;
  readonly isCurrent: boolean;
  readonly isBest: boolean;
  readonly onChoose: (plan: string) => void;
}

function PlanCard({ name, plan, currency, isCurrent, isBest, onChoose }: PlanCardProps) {
  const label = useLabel();
  const title = plan.title ?? label(name);
  const rules = plan.limits?.filter((limit) => !limit.each) ?? [];
  return (
    <li className="hr-plan-card" data-best={isBest} data-plan={name}>
      {isBest && <span className="hr-badge">Recommended</span>}
      <h3 className="hr-plan-title">{title}</h3>
      <p className="hr-plan-price">{plan.price == null ? (isCurrent ? "" : "On request") : plan.price === 0 ? "Free" : <>{price(plan.price, currency)}<span className="hr-quiet"> a month</span></>}</p>
      <ul className="hr-plan-facts">
        {rules.map((limit) => (
          <li key={`${limit.metric} ${limit.period}`}>
            <strong className="hr-number">{limit.max == null ? "Unlimited" : count(limit.max)}</strong> {label(limit.metric).toLowerCase()} <span className="hr-quiet">{every(limit.period)}</span>
          </li>
        ))}
        {plan.features?.map((feature) => <li key={feature}>{label(feature)}</li>)}
      </ul>
      {isCurrent
        ? <span className="hr-current">Your plan</span>
        : <button type="button" className={`hr-button ${isBest ? "hr-button-strong" : ""}`} onClick={() => onChoose(name)}>Choose {title}</button>}
    </li>
  );
}

function every(period: LimitState["period"]): string {
  return period === "lifetime" ? "in total" : `a ${period}`;
}
