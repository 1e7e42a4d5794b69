// Which app a page is about.

import type { Place } from '../console';
import { Choice, Empty } from './basics';
import { link } from '../route';
import { t } from '../words';

/** `withAll`: whether all apps together can be looked at. */
export function AppPicker({ place, withAll }: { place: Place; withAll?: boolean }) {
  const options: [string, string][] = place.apps.map(({ id }) => [id, id]);
  const all: [string, string][] = withAll ? [['', t('allApps')]] : [];
  return <Choice isInline label={t('app')} value={withAll ? place.app : appOf(place)} options={[...all, ...options]} onValue={place.chooseApp} />;
}

/** The chosen app, else the first; empty where there is none. */
export function appOf(place: Place): string {
  return place.app || (place.apps[0]?.id ?? '');
}

export function NoApps() {
  return (
    <Empty>
      {t('noApps')} <a href={link('apps')}>{t('apps')}</a>
    </Empty>
  );
}
