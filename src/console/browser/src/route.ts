// Where the reader is: `#/apps/1/keys`. The server knows nothing of it, so that one
// page is all it has to give out.

import { useEffect, useState } from 'preact/hooks';

export function parts(hash = location.hash): string[] {
  return hash.replace(/^#\/?/, '').split('/').filter(Boolean).map(decode);
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export function link(...where: string[]): string {
  return `#/${where.map(encodeURIComponent).join('/')}`;
}

export function go(...where: string[]) {
  location.hash = link(...where);
}

export function useRoute(): string[] {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const changed = () => setHash(location.hash);
    addEventListener('hashchange', changed);
    // It may have changed since the page was drawn.
    changed();
    return () => removeEventListener('hashchange', changed);
  }, []);
  return parts(hash);
}
