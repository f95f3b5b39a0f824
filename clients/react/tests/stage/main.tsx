/** A host of the components: `window.stage` says as whom it runs, and keeps what they call back. */

import { useState } from "react";
import { createRoot } from "react-dom/client";
import { Client, HeadroomProvider, UpgradeModal, UsageAnalytics, UsageDashboard, UsageWarningBanner } from "../../src/index.ts";
import "../../src/styles.css";

interface Stage {
  readonly key: string;
  readonly subject: string;
  readonly chosen: string[];
}

declare global {
  interface Window {
    stage: Stage;
  }
}

const { key, subject, chosen } = window.stage;
const client = new Client({ credential: () => key });

function App() {
  const [isOpen, setOpen] = useState(false);
  const onChoose = (plan: string) => {
    chosen.push(plan);
    setOpen(false);
  };
  return (
    <HeadroomProvider client={client} subject={subject}>
      <h1>Settings</h1>
      <UsageWarningBanner onUpgrade={() => setOpen(true)} />
      <UsageDashboard />
      <UsageAnalytics />
      <UpgradeModal open={isOpen} onClose={() => setOpen(false)} onChoose={onChoose} />
    </HeadroomProvider>
  );
}

const root = document.getElementById("stage");
if (root) createRoot(root).render(<App />);
