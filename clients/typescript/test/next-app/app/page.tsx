export default function Page() {
  return <p>An app under test.</p>;
}
