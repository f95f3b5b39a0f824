/** Something that is shown once. */
export function Secret({ title, secret }: { readonly title: string; readonly secret: string }) {
  return (
    <div className="notice" role="status">
      <p><strong>{title}</strong></p>
      <code className="secret">{secret}</code>
    </div>
  );
}
