/** An amount as it stands on a bill. */
export function money(amount: number): string {
  return amount.toLocaleString([], { minimumFractionDigits: 2, maximumFractionDigits: 2 });
}
