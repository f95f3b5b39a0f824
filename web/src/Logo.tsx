export function Logo() {
  return (
    <svg className="logo" viewBox="0 0 32 32" width="28" height="28" aria-hidden="true">
      <rect className="logo-back" width="32" height="32" rx="7" />
      <path className="logo-line" d="M9 7v18M23 7v18" />
      <rect className="logo-fill" x="9" y="17" width="14" height="8" />
    </svg>
  );
}
